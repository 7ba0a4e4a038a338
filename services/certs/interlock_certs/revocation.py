"""Revoking certificates and identities: refused by the bus within a second, by the edges, in the CRL and over OCSP."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog
from nats.errors import Error as NatsError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.bus_admin import Connection
from interlock_certs.crl import reason_of
from interlock_certs.models import ForeignRevocation, IssuedCertificate
from interlock_certs.profiles import BUS
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import Conflict, InterlockError, NotFound, PermissionDenied
from interlock_common.messages.access import BUS_ADMIN
from interlock_common.messages.certs import (
    CertificatesRevoked,
    Reason,
    ReinstateIdentity,
    RevokedCertificate,
    RevokeIdentity,
    RevokeLeaf,
)
from interlock_common.messages.common import Actor, Empty

_log = structlog.get_logger()
PERMISSION = "admin.system_config"
_MADE_HERE = frozenset({BUS, BUS_ADMIN, "certs"})


class Announcer(Protocol):
    """Who is told; ``announcing.py``."""

    async def revoked(self, actor: Actor, certificate: RevokedCertificate) -> None: ...
    def identity_revoked(self, actor: Actor, identity: str, reason: Reason) -> None: ...
    def identity_reinstated(self, actor: Actor, identity: str) -> None: ...


class Pinning(Protocol):
    """What has the bus forget a leaf; ``pins.py``."""

    @property
    def enforce(self) -> Callable[[], Awaitable[None]]: ...


class Connections(Protocol):
    """Who is on the bus, and the end of that; ``bus_admin.py``."""

    async def connections(self) -> list[Connection]: ...
    async def kick(self, connections: list[Connection]) -> None: ...


class Edges(Protocol):
    """How the edges hear of it: a bucket that they mirror."""

    async def put(self, certificate: RevokedCertificate, not_after: int | None) -> None: ...


class Revocations:
    """What counts no longer; ``changed`` is called after each change, for what is signed about it."""

    def __init__(
        self,
        engine: AsyncEngine,
        pins: Pinning,
        admin: Connections,
        edges: Edges,
        announcer: Announcer,
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._pins = pins
        self._admin = admin
        self._edges = edges
        self._announcer = announcer
        self._changed = changed
        self._clock = clock

    async def revoke_leaf(self, request: RevokeLeaf) -> CertificatesRevoked:
        """Revoke one certificate, ours or, where its issuer is named, that of another CA."""
        _require(request.actor)
        serial = request.serial.lstrip("0") or "0"
        began, now = self._clock.monotonic(), int(self._clock.time())
        async with transaction(self._engine) as session:
            leaf = await store.leaf_of(session, serial)
            if leaf is not None and request.issuer in {None, leaf.issuer}:
                if leaf.identity in _MADE_HERE:
                    raise Conflict(f"the certificate of {leaf.identity} is replaced by rotating the CA, not revoked")
                ours = [_mark(leaf, request.reason, now)]
                foreign = None
            elif request.issuer is not None:
                ours, foreign = [], _foreign(request, serial, now)
                await store.add_foreign(session, foreign)
            else:
                raise NotFound(f"certs has issued no certificate with the serial number {serial}: name its issuer")
        return await self._spread(request.actor, ours, foreign, began)

    async def revoke_identity(self, request: RevokeIdentity) -> CertificatesRevoked:
        """Revoke every leaf of an identity, and give it no other one."""
        _require(request.actor)
        identity = request.identity
        if identity in _MADE_HERE:
            raise Conflict(f"{identity} cannot be revoked: the deployment would end; rotate the CA instead")
        began, now = self._clock.monotonic(), int(self._clock.time())
        async with transaction(self._engine) as session:
            await store.revoke_identity(session, identity, request.reason, now)
            leaves = await store.living_leaves_of(session, identity, now)
            ours = [_mark(leaf, request.reason, now) for leaf in leaves]
        self._announcer.identity_revoked(request.actor, identity, request.reason)
        return await self._spread(request.actor, ours, None, began)

    async def reinstate(self, request: ReinstateIdentity) -> Empty:
        """Let a revoked identity join again."""
        _require(request.actor)
        async with transaction(self._engine) as session:
            if not await store.reinstate_identity(session, request.identity):
                raise NotFound(f"the identity {request.identity} is not revoked")
        self._announcer.identity_reinstated(request.actor, request.identity)
        return Empty()

    async def publish_all(self) -> None:
        """Fill the bucket of the edges, which a bus that comes back may have lost."""
        async with transaction(self._engine) as session:
            own, foreign = await store.all_revoked(session, int(self._clock.time()))
        for leaf in own:
            await self._edges.put(_described(leaf), leaf.not_after)
        for revocation in foreign:
            await self._edges.put(_described_foreign(revocation), revocation.not_after)

    async def _spread(
        self, actor: Actor, ours: Sequence[IssuedCertificate], foreign: ForeignRevocation | None, began: float
    ) -> CertificatesRevoked:
        self._changed()
        ended, enforced = await self._end_connections({leaf.fingerprint for leaf in ours})
        entries = [(_described(leaf), leaf.not_after) for leaf in ours]
        told: list[tuple[RevokedCertificate, int | None]] = [*entries]
        if foreign is not None:
            told.append((_described_foreign(foreign), foreign.not_after))
        for certificate, end in told:
            enforced = await self._tell_edges(certificate, end) and enforced
            await self._announcer.revoked(actor, certificate)
        ms = round((self._clock.monotonic() - began) * 1000, 1)
        return CertificatesRevoked(tuple(each for each, _ in told), ended, ms, enforced)

    async def _tell_edges(self, certificate: RevokedCertificate, end: int | None) -> bool:
        try:
            await self._edges.put(certificate, end)
        except (InterlockError, NatsError, TimeoutError) as error:  # it is put again once the bus is back
            _log.error("the edges do not know yet that a certificate is revoked", serial=certificate.serial,
                       error=str(error) or type(error).__name__)  # fmt: skip
            return False
        return True

    async def _end_connections(self, fingerprints: set[str]) -> tuple[int, bool]:
        """Have the bus forget these leaves; answers how many connections that ended, and whether it obeyed."""
        if not fingerprints:
            return 0, True
        try:
            before = _with(fingerprints, await self._admin.connections())
            await self._pins.enforce()
            left = _with(fingerprints, await self._admin.connections())
            await self._admin.kick(left)  # a bus without the list of pins, or one that is slow to end them
        except InterlockError as error:
            _log.error("the bus does not know yet that a certificate is revoked", reason=error.detail)
            return 0, False
        return len({(one.server, one.cid) for one in (*before, *left)}), True


def _require(actor: Actor) -> None:
    if not actor.may(PERMISSION):
        raise PermissionDenied(f"revoking certificates needs the permission {PERMISSION}")


def _with(fingerprints: set[str], connections: Sequence[Connection]) -> list[Connection]:
    return [one for one in connections if one.fingerprint in fingerprints]


def _mark(leaf: IssuedCertificate, reason: Reason, now: int) -> IssuedCertificate:
    """Revoke a leaf; one that is revoked already stays so since then."""
    if leaf.revoked_at is None:
        leaf.revoked_at, leaf.reason = now, reason
    return leaf


def _foreign(request: RevokeLeaf, serial: str, now: int) -> ForeignRevocation:
    return ForeignRevocation(
        issuer=request.issuer or "", serial=serial, fingerprint=request.fingerprint, subject=request.subject,
        reason=request.reason, revoked_at=now, not_after=request.not_after,
    )  # fmt: skip


def _described(leaf: IssuedCertificate) -> RevokedCertificate:
    reason = reason_of(leaf.reason)
    return RevokedCertificate(
        leaf.serial, leaf.issuer or "0", leaf.fingerprint, leaf.identity, reason, leaf.revoked_at or 0
    )


def _described_foreign(found: ForeignRevocation) -> RevokedCertificate:
    reason = reason_of(found.reason)
    return RevokedCertificate(found.serial, found.issuer, found.fingerprint, found.subject, reason, found.revoked_at)
