"""What the edge knows without asking anybody."""

from dataclasses import dataclass
from typing import Any

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.messages import resources
from interlock_common.messages.auth import NarrowedScopes, Principal, SigningKey
from interlock_common.messages.catalog import CatalogItem, Upstream, VirtualServer
from interlock_common.messages.certs import RevokedCertificate, Successor
from interlock_common.messages.gateway import Session
from interlock_common.messages.grants import Grant
from interlock_common.messages.issuers import LinkedIdentity, TrustedIssuer
from interlock_common.messages.plugins import Binding
from interlock_common.mirror import Mirror
from interlock_common.reading import BucketReader
from interlock_common.revocation_set import RevocationMirror


@dataclass(frozen=True, slots=True)
class Mirrors:
    """What the edge knows, each a bucket of its owner."""

    keys: Mirror[SigningKey]
    principals: Mirror[Principal]
    revocations: RevocationMirror
    catalog: Mirror[CatalogItem]
    bindings: Mirror[Binding]
    sessions: Mirror[Session]
    grants: Mirror[Grant]
    token_scopes: Mirror[NarrowedScopes]
    issuers: Mirror[TrustedIssuer]
    identities: Mirror[LinkedIdentity]
    revoked_certificates: Mirror[RevokedCertificate]
    successors: Mirror[Successor]

    @classmethod
    def of(cls, bus: Bus) -> "Mirrors":
        return cls(
            keys=Mirror(bus, resources.SIGNING_KEYS, SigningKey),
            principals=Mirror(bus, resources.PRINCIPALS, Principal),
            revocations=RevocationMirror(bus, pages=True),
            catalog=Mirror(bus, resources.CATALOG, Upstream | VirtualServer),
            bindings=Mirror(bus, resources.BINDINGS, Binding),
            sessions=Mirror(bus, resources.SESSIONS, Session),
            grants=Mirror(bus, resources.GRANTS, Grant),
            token_scopes=Mirror(bus, resources.TOKEN_SCOPES, NarrowedScopes),
            issuers=Mirror(bus, resources.ISSUERS, TrustedIssuer),
            identities=Mirror(bus, resources.IDENTITIES, LinkedIdentity),
            revoked_certificates=Mirror(bus, resources.REVOKED_CERTIFICATES, RevokedCertificate),
            successors=Mirror(bus, resources.CERTIFICATE_SUCCESSORS, Successor),
        )

    def all(self) -> tuple[BucketReader[Any, Any], ...]:
        return (
            self.keys, self.principals, self.revocations, self.catalog, self.bindings, self.sessions, self.grants,
            self.token_scopes, self.issuers, self.identities, self.revoked_certificates, self.successors,
        )  # fmt: skip

    async def fill(self, bus: Bus) -> None:
        """Read every mirror completely: an edge that does not know what is revoked must not serve."""
        for bucket in (resources.SESSIONS, resources.UPSTREAM_SESSIONS, resources.CONSENTS):
            await kv.ensure_bucket(bus, bucket)
        await kv.ensure_stream(bus, resources.SESSION_MESSAGES)
        for mirror in self.all():
            await mirror.start()
        for mirror in self.all():
            await mirror.wait_complete(timeout=None)
