"""The traffic of sessions of the handshake era: their streams, what clients are asked, and what they cancel."""

from collections.abc import Awaitable

from interlock_gateway.authentication import Caller
from interlock_gateway.client import Client
from interlock_gateway.jsonrpc import INVALID_REQUEST, Envelope, RpcError
from interlock_gateway.requests import McpRequest
from interlock_gateway.sessions import OpenSession, Sessions
from interlock_gateway.streams import Streams


class SessionTraffic:
    """What the endpoint hands over of a session's requests; ``streams`` are the GET streams of this edge."""

    def __init__(self, sessions: Sessions, streams: Streams) -> None:
        self._sessions = sessions
        self._streams = streams

    def client(self, session: OpenSession, request: McpRequest) -> Client:
        """The client of one request."""
        del session
        return request.reply

    async def run(self, session: OpenSession, request: McpRequest, work: Awaitable[None]) -> None:
        """Do the work of one request; its client may leave, or cancel it."""
        del session, request
        await work

    async def answered(self, session: OpenSession, envelope: Envelope) -> None:
        """Take a client's response to a request; raises RpcError where nothing was asked."""
        del session, envelope
        raise RpcError(INVALID_REQUEST, "the body is an answer, and nothing was asked", status=400)

    async def notified(self, session: OpenSession, envelope: Envelope) -> None:
        """Take a client's notification."""
        del session, envelope

    async def stream(self, session: OpenSession, request: McpRequest, caller: Caller) -> None:
        """Serve the GET stream, or resume the stream that ``Last-Event-ID`` names."""
        end = self._sessions.watch(session, caller.expires_at)
        await self._streams.serve(request.reply, request.receive, end)

    async def end(self, session: OpenSession) -> None:
        """End a session because its client says so."""
        await self._sessions.end(session)
