"""Issuing leaves: for who joins, for who renews, and for certs itself and the bus."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from interlock_certs import store
from interlock_certs.authority import Leaf
from interlock_certs.crl import reason_of
from interlock_certs.errors import (
    AuthorityUnusable,
    IdentityRevoked,
    JoinRefused,
    NotRenewable,
    RequestRejected,
    TokenAway,
)
from interlock_certs.joining import JoinDrops
from interlock_certs.profiles import BUS, Grant, Profiles, named
from interlock_certs.requests import LeafKey, Request, read_request
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError, InvalidInput, PermissionDenied, Unauthenticated, Unavailable
from interlock_common.messages.access import BUS_ADMIN
from interlock_common.messages.certs import IssuedLeaf, LeafList, LeafSummary
from interlock_common.tls import uris

_log = structlog.get_logger()
_MADE_HERE = frozenset({BUS, BUS_ADMIN})
_MAX_LISTED = 500
_MAX_NAME = 128
_SIGN_SECONDS = 10.0
"""A key in a token may be on the other side of a network."""


type Admit = Callable[[], Awaitable[None]]
"""Has the bus take what was issued."""

type Renewed = Callable[[x509.Certificate, Leaf], Awaitable[None]]
"""Is told of a certificate and of the leaf that takes its place, before anybody gets that."""


class Signing(Protocol):
    """What signs: ``Authority``, or ``Generations`` of them."""

    @property
    def bundle_pem(self) -> bytes: ...

    @property
    def certificates(self) -> list[x509.Certificate]: ...

    def issue(self, identity: str, key: LeafKey, grant: Grant) -> Leaf: ...


class Announcer(Protocol):
    """Who is told of each leaf; ``bus.py`` tells the bus and the audit log."""

    async def issued(self, leaf: Leaf, *, renewal: bool) -> None: ...
    async def refused(self, identity: str, error: InterlockError) -> None: ...


class Accounts(Protocol):
    """Who knows service-account tokens; ``kubernetes.py``."""

    async def identity_of(self, token: str) -> str: ...


class Issuing:
    """What certs does with its authority; each leaf is in the database before anybody gets it."""

    def __init__(
        self,
        signing: Signing,
        drops: JoinDrops,
        engine: AsyncEngine,
        announcer: Announcer,
        profiles: Profiles,
        clock: Clock,
        accounts: Accounts | None = None,
        admit: Admit | None = None,
        renewed: Renewed | None = None,
    ) -> None:
        self._signing = signing
        self._drops = drops
        self._engine = engine
        self._announcer = announcer
        self._profiles = profiles
        self._clock = clock
        self._accounts = accounts
        self._admit = admit
        self._renewed = renewed

    async def enrol(self, identity: str | None, secret: str, csr: bytes) -> Leaf:
        """The first leaf of the identity whose join token, or service-account token, ``secret`` is.

        A join token is used up if, and only if, a leaf is issued. With ``identity`` None the token alone says whose
        it is.
        """
        async with self._refusal_told(identity or ""):
            if self._accounts is not None and _is_jwt(secret):
                leaf = await self._enrol_account(self._accounts, identity, secret, csr)
            else:
                leaf = await self._enrol_joining(identity, secret, csr)
        await self._tell(leaf, renewal=False)
        return leaf

    async def reenrol(self, shown: x509.Certificate, csr: bytes) -> Leaf:
        """The next leaf of whoever shows its present one, for the same subject and names (RFC 7030, section 4.2.2)."""
        async with self._refusal_told(_uri(shown)), transaction(self._engine) as session:
            known = await store.leaf_of(session, f"{shown.serial_number:x}")
            if known is None or known.revoked_at is not None or known.fingerprint != _fingerprint(shown):
                raise JoinRefused("the certificate does not count: it is revoked, or certs does not know it")
            identity = known.identity
            _refuse_made_here(identity)
            await _refuse_revoked(session, identity)
            request = read_request(csr)
            if request.subject != shown.subject or frozenset(request.names) != frozenset(_names(shown)):
                raise RequestRejected("subject and names of the request must be those of the certificate it replaces")
            leaf = await self._sign(identity, request.key, self._profiles.grant(identity, request))
            await store.add_leaf(session, leaf, renewal=True)
        if self._renewed is not None:
            await self._renewed(shown, leaf)
        await self._tell(leaf, renewal=True)
        return leaf

    async def renew(self, identity: str, csr_pem: str) -> IssuedLeaf:
        """The next leaf of an identity that the bus vouches for."""
        async with self._refusal_told(identity), transaction(self._engine) as session:
            _refuse_made_here(identity)
            await _refuse_revoked(session, identity)
            leaf = await self._grant(identity, read_request(csr_pem.encode()))
            await store.add_leaf(session, leaf, renewal=True)
        await self._tell(leaf, renewal=True)
        return IssuedLeaf(
            chain=leaf.chain_pem.decode(),
            bundle=self._signing.bundle_pem.decode(),
            not_before=int(leaf.not_before.timestamp()),
            not_after=int(leaf.not_after.timestamp()),
        )

    async def issue_own(self, identity: str, csr: bytes, lifetime: timedelta, names: Sequence[str]) -> Leaf:
        """A leaf for certs itself or for the bus."""
        leaf = await self._sign(identity, read_request(csr).key, Grant(lifetime, named(names)))
        async with transaction(self._engine) as session:
            await store.add_leaf(session, leaf, renewal=False)
        await self._tell(leaf, renewal=False)
        return leaf

    async def listing(self) -> LeafList:
        """The leaves that count at the moment, newest first."""
        async with transaction(self._engine) as session:
            rows = await store.live_leaves(session, int(self._clock.time()), _MAX_LISTED)
        return LeafList(tuple(
            LeafSummary(
                row.serial, row.identity, row.fingerprint, row.not_before, row.not_after, row.issuer, row.revoked_at,
                reason_of(row.reason) if row.reason else None,
            )
            for row in rows
        ))  # fmt: skip

    async def _enrol_joining(self, identity: str | None, token: str, csr: bytes) -> Leaf:
        async with transaction(self._engine) as session:
            joining = await self._drops.use(session, identity, token)
            await _refuse_revoked(session, joining)
            leaf = await self._grant(joining, read_request(csr))
            await store.add_leaf(session, leaf, renewal=False)
        self._drops.used(joining)
        return leaf

    async def _enrol_account(self, accounts: Accounts, identity: str | None, token: str, csr: bytes) -> Leaf:
        joining = await accounts.identity_of(token)
        if identity not in {joining, None}:
            raise JoinRefused(f"the service account of this token may join as {joining}")
        _refuse_made_here(joining)
        async with transaction(self._engine) as session:
            await _refuse_revoked(session, joining)
            leaf = await self._grant(joining, read_request(csr))
            await store.add_leaf(session, leaf, renewal=False)
        return leaf

    async def _grant(self, identity: str, request: Request) -> Leaf:
        return await self._sign(identity, request.key, self._profiles.grant(identity, request))

    async def _sign(self, identity: str, key: LeafKey, grant: Grant) -> Leaf:
        try:
            async with asyncio.timeout(_SIGN_SECONDS):
                return await asyncio.to_thread(self._signing.issue, identity, key, grant)
        except TimeoutError:
            raise TokenAway(f"the issuing CA did not sign within {_SIGN_SECONDS:g} s") from None
        except AuthorityUnusable as error:  # whose text is for the operator
            _log.error("nothing can be issued", reason=error.detail)
            raise Unavailable("the issuing CA cannot sign at the moment; the log of certs says why") from None

    async def _tell(self, leaf: Leaf, *, renewal: bool) -> None:
        """Have the bus take the leaf before its owner shows it; of the administrator it knows the key already."""
        if self._admit is not None and leaf.identity not in _MADE_HERE:
            await self._admit()
        await self._announcer.issued(leaf, renewal=renewal)

    @asynccontextmanager
    async def _refusal_told(self, identity: str) -> AsyncGenerator[None]:
        try:
            yield
        except (InvalidInput, Unauthenticated, PermissionDenied) as error:
            await self._announcer.refused(identity[:_MAX_NAME], error)
            raise


async def _refuse_revoked(session: AsyncSession, identity: str) -> None:
    revoked = await store.revoked_identity(session, identity)
    if revoked is not None:
        raise IdentityRevoked(f"{identity} is revoked ({revoked.reason}) until an administrator reinstates it")


def _uri(certificate: x509.Certificate) -> str:
    return next(iter(uris(certificate)), "")


def _refuse_made_here(identity: str) -> None:
    if identity in _MADE_HERE:
        raise NotRenewable(f"the certificate of {identity} is made by certs and renewed by nobody else")


def _is_jwt(secret: str) -> bool:
    """Whether a secret has the form of a service-account token; a join token has no dots."""
    return secret.count(".") == 2  # noqa: PLR2004 - header, payload, signature (RFC 7515)


def _names(certificate: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _fingerprint(certificate: x509.Certificate) -> str:
    return f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}"
