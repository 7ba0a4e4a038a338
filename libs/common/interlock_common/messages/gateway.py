"""What the edges keep and say among themselves, and how an upstream is asked over the bus.

**Asking over the bus** (connectors, tunnels, workers, held calls): a request carries one JSON-RPC request; every
message published to its reply subject is one JSON-RPC message, the last of them the response with the same id. An
empty message is a sign of life. ``ANSWER_TO_HEADER`` on a message names the subject that takes what the asker says
meanwhile, as ``Said``. A failure of the way itself is the problem document of ``endpoints.ERROR_CODE_HEADER``.
Whoever sends more than one message numbers them in ``SEQUENCE_HEADER``, from 1: two connections, as there are while a
certificate is exchanged, keep no order between them.
"""

import hashlib
from typing import Literal

import msgspec

ANSWER_TO_HEADER = "Interlock-Answer-To"
SEQUENCE_HEADER = "Interlock-Sequence"
SESSION_KEY_HEADER = "Interlock-Session-Key"
"""Whose conversation with the upstream the request belongs to."""
PRINCIPAL_HEADER = "Interlock-Principal"
CAPABILITIES_HEADER = "Interlock-Capabilities"
"""What the client at the far end can do, as JSON."""

DESCRIBE = "interlock/describe"
"""The method that asks a connector, tunnel or worker what it is; its result is a ``Description``."""
LISTEN = "interlock/listen"
"""The method that subscribes to the resources ``uris`` of a server of the handshake era, until the exchange ends.

What the server says of them goes out on ``mcp.changed.<upstream id>``; it is answered when the server has ended."""
END_SESSION = "interlock/end-session"
"""The method that ends what is kept for the session key it comes with; its result is empty."""
NOTIFY = "interlock/notify"
"""The method that hands the notification in its params to the server that runs for the session key, if one does."""

SIGN_OF_LIFE_SECONDS = 5.0
"""How often whoever answers an exchange shows that it is still at it; three missed ones end the exchange."""


class Description(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The result of ``DESCRIBE``: the era the server speaks, and what it said of itself in its handshake."""

    era: Literal["modern", "legacy"]
    protocol_version: str
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    instructions: str = ""


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the asker of an exchange says while it runs: the response to a request of the upstream, or to stop.

    ``exchange`` is the reply subject of the request that began it.
    """

    exchange: str
    what: Literal["answer", "cancel"]
    message: msgspec.Raw = msgspec.Raw(b"null")


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``sessions``, key ``session_key(id)``: any edge may serve it, only its principal may use it.

    ``capabilities`` and ``client_info`` are what the client said of itself, raw; ``server_id`` the virtual server
    it was opened at; ``log_level`` what it last set; ``subscriptions`` the public URIs it subscribed to.
    """

    principal: str
    protocol_version: str
    created_at: int
    server_id: str | None = None
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    client_info: msgspec.Raw = msgspec.Raw(b"{}")
    log_level: str = ""
    subscriptions: tuple[str, ...] = ()


class UpstreamSession(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``upstream-sessions``, key ``upstream_session_key(…)``: a client's session as one upstream knows it.

    ``id`` is empty where the upstream keeps no session.
    """

    id: str
    protocol_version: str


class ConnectorLease(msgspec.Struct, frozen=True):
    """Bucket ``connectors``, key the upstream's id: which connector runs it; it expires unless it is renewed."""

    instance: str


class Tunnel(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``tunnels``, key ``id``: a server that dialled in; it expires unless its edge renews it.

    ``edge`` is the instance that holds it, ``connected_at`` seconds since the epoch. ``closing`` says why its edge
    is to end it.
    """

    id: str
    upstream_id: str
    name: str
    principal: str
    edge: str
    connected_at: int
    peer: str = ""
    closing: str = ""


class ClientAnswer(msgspec.Struct, frozen=True):
    """``mcp.edge.<instance>.answer``: what a client answered to a request that an edge had put to it."""

    session: str
    id: str
    message: msgspec.Raw


class AskStream(msgspec.Struct, frozen=True, omit_defaults=True):
    """``mcp.edge.<instance>.stream``: how a stream of a request stands, asked of the edge that runs the request.

    ``follower`` is who serves it now; with ``take`` it takes the stream from whoever served it before.
    """

    session: str
    stream: str
    follower: str
    take: bool = False


class StreamState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether more is to come on a stream, and whether another follower has taken it; ``request`` is answered there."""

    running: bool
    taken: bool = False
    request: msgspec.Raw = msgspec.Raw(b"null")


class Cancel(msgspec.Struct, frozen=True, omit_defaults=True):
    """``mcp.cancel``, to every edge: a client of the handshake era wants a request of its session to end."""

    session: str
    request: msgspec.Raw
    reason: str = ""


class Resume(msgspec.Struct, frozen=True, omit_defaults=True):
    """``mcp.edge.<instance>.resume``: go on with a held call; asked and answered as an exchange over the bus."""

    hold: str
    principal: str
    responses: msgspec.Raw


def session_key(session_id: str) -> str:
    """The key of a session: a digest, so that reading the bucket hands nobody a session id."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def upstream_session_key(owner: str, upstream_id: str) -> str:
    """The key of what an upstream knows a client by; ``owner`` is a ``session_key``."""
    return f"{owner}.{upstream_id}"
