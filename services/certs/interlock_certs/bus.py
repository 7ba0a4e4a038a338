"""The NATS side of certs: renewals, confirmations and what administrators ask in, what is revoked out."""

from interlock_certs.issuing import Issuing
from interlock_certs.peers import Peers
from interlock_certs.revocation import Revocations
from interlock_certs.rotation import Rotation
from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.messages import resources, subjects
from interlock_common.messages.certs import (
    AuthorityStatus,
    ConfirmTrust,
    IssuedLeaf,
    LeafList,
    ReinstateIdentity,
    RenewLeaf,
    RevokedCertificate,
    RevokeIdentity,
    RevokeLeaf,
    RotateAuthority,
    revoked_key,
)
from interlock_common.messages.common import Empty, Page

_LONGEST_TTL = 400 * 86400
_LATE_SECONDS = 60


def bind(bus: Bus, issuing: Issuing, peers: Peers, revocations: Revocations, rotation: Rotation) -> None:
    """Answer the subjects of certs."""

    # The server lets a service publish only the subjects that end in its own name.
    async def renew(subject: str, request: RenewLeaf) -> IssuedLeaf:
        return await issuing.renew(subject.rpartition(".")[2], request.csr)

    async def confirm(subject: str, confirmation: ConfirmTrust) -> Empty:
        await peers.confirm(subject.rpartition(".")[2], confirmation)
        return Empty()

    async def list_leaves(_request: Empty) -> LeafList:
        return await issuing.listing()

    async def status(page: Page) -> AuthorityStatus:
        return await rotation.asked(page.actor)

    bus.endpoint_with_subject(f"{subjects.CERTS_LEAF_RENEW}.*", RenewLeaf, renew)
    bus.endpoint_with_subject(f"{subjects.CERTS_TRUST_CONFIRM}.*", ConfirmTrust, confirm)
    bus.endpoint(subjects.CERTS_LEAF_LIST, Empty, list_leaves)
    bus.endpoint(subjects.CERTS_LEAF_REVOKE, RevokeLeaf, revocations.revoke_leaf)
    bus.endpoint(subjects.CERTS_IDENTITY_REVOKE, RevokeIdentity, revocations.revoke_identity)
    bus.endpoint(subjects.CERTS_IDENTITY_REINSTATE, ReinstateIdentity, revocations.reinstate)
    bus.endpoint(subjects.CERTS_AUTHORITY_STATUS, Page, status)
    bus.endpoint(subjects.CERTS_AUTHORITY_ROTATE, RotateAuthority, rotation.take)


class RevokedBucket:
    """The revoked certificates as the edges mirror them, each gone a little after it has expired."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def ensure(self) -> None:
        """Make the bucket."""
        await kv.ensure_bucket(self._bus, resources.REVOKED_CERTIFICATES)

    async def put(self, certificate: RevokedCertificate, not_after: int | None) -> None:
        end = _LONGEST_TTL if not_after is None else not_after - self._clock.time() + _LATE_SECONDS
        key = revoked_key(certificate.issuer, certificate.serial)
        ttl = min(_LONGEST_TTL, max(_LATE_SECONDS, end))
        await kv.put(self._bus, resources.REVOKED_CERTIFICATES, key, certificate, ttl=ttl)
