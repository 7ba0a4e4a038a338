"""What the edges keep among themselves: sessions of clients of the handshake era."""

import hashlib

import msgspec


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``sessions``, key ``session_key(id)``: any edge may serve it, only its principal may use it.

    ``capabilities`` is what the client said it can do, raw; ``server_id`` the virtual server it was opened at.
    """

    principal: str
    protocol_version: str
    created_at: int
    server_id: str | None = None
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")


def session_key(session_id: str) -> str:
    """The key of a session: a digest, so that reading the bucket hands nobody a session id."""
    return hashlib.sha256(session_id.encode()).hexdigest()
