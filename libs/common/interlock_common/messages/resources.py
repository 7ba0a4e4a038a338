"""The streams and the KV buckets of the bus, each declared once with its owner.

The owner creates its resources when it starts; everyone else only reads them.
"""

from typing import Literal

import msgspec

from interlock_common.messages import subjects


class Stream(msgspec.Struct, frozen=True):
    """A JetStream stream; ``max_age`` is in seconds, ``duplicate_window`` too."""

    name: str
    owner: str
    subjects: tuple[str, ...]
    description: str
    max_age: float
    max_bytes: int
    duplicate_window: float = 120.0
    storage: Literal["file", "memory"] = "file"


class Bucket(msgspec.Struct, frozen=True):
    """A KV bucket that services mirror in memory; with ``expires`` its keys may carry a TTL."""

    name: str
    owner: str
    description: str
    history: int = 1
    expires: bool = False
    storage: Literal["file", "memory"] = "file"


AUDIT = Stream(
    name="AUDIT",
    owner="audit",
    subjects=(subjects.AUDIT_BATCHES,),
    description="batches of audit records on their way to the tamper-evident record",
    max_age=7 * 86400,
    max_bytes=8 * 2**30,
)
EVENTS = Stream(
    name="EVENTS",
    owner="audit",
    subjects=(subjects.EVENTS,),
    description="what happened, for whoever needs to react or to look",
    max_age=2 * 86400,
    max_bytes=2**30,
)
SESSION_MESSAGES = Stream(
    name="SESSIONS",
    owner="gateway",
    subjects=(subjects.MCP_SESSIONS,),
    description="what streams of sessions of the handshake era said, so that any edge can resume them",
    max_age=600,
    max_bytes=256 * 2**20,
    storage="memory",
)

REVOCATIONS = Bucket(
    "revocations", "auth", "what no longer counts: selectors, gone when their tokens expire", expires=True
)
SIGNING_KEYS = Bucket("signing-keys", "auth", "public keys that verify access tokens, by kid")
PRINCIPALS = Bucket("principals", "auth", "users and service accounts: active, administrator, teams")
TOKEN_SCOPES = Bucket("token-scopes", "auth", "scopes that were narrowed after their tokens were minted", expires=True)
ISSUERS = Bucket("issuers", "auth", "authorization servers of others whose tokens count, with their public keys")
IDENTITIES = Bucket("identities", "auth", "who identities of other authorization servers are here")
CATALOG = Bucket("catalog", "catalog", "upstreams with their tools, and virtual servers")
GRANTS = Bucket("grants", "catalog", "what authorization servers granted users for upstreams, sealed")
CONSENTS = Bucket(
    "consents", "gateway", "consent pages that were used, so that none is used twice", expires=True, storage="memory"
)
BINDINGS = Bucket("bindings", "plugins", "which plugin chain is bound to which hook")
TRUST = Bucket("trust", "certs", "the trust bundle of the deployment")
REVOKED_CERTIFICATES = Bucket(
    "revoked-certificates", "certs", "certificates that count no longer, gone when they expire", expires=True
)
CERTIFICATE_SUCCESSORS = Bucket(
    "certificate-successors", "certs", "which certificate was issued in place of which, gone when that expires",
    expires=True,
)  # fmt: skip
SESSIONS = Bucket("sessions", "gateway", "sessions of clients of the handshake era", expires=True, storage="memory")
UPSTREAM_SESSIONS = Bucket(
    "upstream-sessions", "gateway", "sessions as the upstreams of the handshake era know them", expires=True,
    storage="memory",
)  # fmt: skip
CONNECTORS = Bucket(
    "connectors", "connector", "which connector runs which upstream: a lease each", expires=True, storage="memory"
)
TUNNELS = Bucket(
    "tunnels", "gateway", "servers that dialled in, each at the edge that holds it", expires=True, storage="memory"
)

STREAMS: tuple[Stream, ...] = (AUDIT, EVENTS, SESSION_MESSAGES)
BUCKETS: tuple[Bucket, ...] = (
    REVOCATIONS, SIGNING_KEYS, PRINCIPALS, TOKEN_SCOPES, ISSUERS, IDENTITIES, CATALOG, GRANTS, BINDINGS, TRUST,
    REVOKED_CERTIFICATES, CERTIFICATE_SUCCESSORS, SESSIONS, UPSTREAM_SESSIONS, CONNECTORS, TUNNELS, CONSENTS,
)  # fmt: skip
