"""HTTP with SSE of 2024-11-05, for clients that know nothing newer: ``/sse`` and ``/messages``, of a server too.

The stream names the address that takes messages, and everything is answered on the stream. It is the stream of a
session like any other, so messages may arrive at an edge that does not hold it.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs

import msgspec
from opentelemetry import context as otel_context

from interlock_common import telemetry
from interlock_common.messages.gateway import Session
from interlock_common.messages.subjects import session_stream
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints.front import HttpFront
from interlock_gateway.endpoints.reply import HeaderPairs, Reply, Send
from interlock_gateway.endpoints.requests import McpRequest, Receive, Scope
from interlock_gateway.handshake import Initialize, initialize_result, read_initialize
from interlock_gateway.jsonrpc import INVALID_REQUEST, Envelope, RpcError
from interlock_gateway.methods import Incoming, Methods
from interlock_gateway.revisions import LEGACY
from interlock_gateway.routing import Catalog, offer_for
from interlock_gateway.sessions.client import SessionReply
from interlock_gateway.sessions.feed import GET
from interlock_gateway.sessions.registry import OpenSession, Sessions
from interlock_gateway.sessions.traffic import SessionTraffic

VERSION = "2024-11-05"
_SPOKEN = (*LEGACY, VERSION)
_ACCEPTED = 202


class OpeningReply(Reply):
    """The stream, which begins by naming the address that takes messages."""

    __slots__ = ("address",)

    def __init__(self, send: Send, address: str) -> None:
        super().__init__(send)
        self.address = address

    async def open_stream(self, headers: HeaderPairs = ()) -> None:
        await super().open_stream(headers)
        await self._body(b"event: endpoint\ndata: " + self.address.encode() + b"\n\n", more=True)


class SpokenReply(SessionReply):
    """The client of one request that was accepted long ago: all it is told comes over the session's stream."""

    __slots__ = ()

    async def event(self, data: bytes) -> None:
        self.size += len(data)
        await self._journal.keep(session_stream(self.session.key, GET), data, {}, "")

    async def answer(self, message: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        del status, headers
        self.finished = True
        await self.event(message)

    async def end(self) -> None:
        self.finished = True

    async def keep_alive(self) -> None:
        """The stream has signs of life of its own."""


@dataclass(frozen=True, slots=True)
class SseEndpoint:
    """Everything a client of 2024-11-05 needs."""

    front: HttpFront
    catalog: Catalog
    methods: Methods
    sessions: Sessions
    traffic: SessionTraffic

    async def stream(self, scope: Scope, receive: Receive, send: Send, server_id: str | None) -> None:
        """GET: a new session and its stream; the session ends with it."""
        request = McpRequest(scope, receive, Reply(send), server_id, dict(scope["headers"]))
        await self.front.serve(request, self._stream)

    async def messages(self, scope: Scope, receive: Receive, send: Send, server_id: str | None) -> None:
        """POST: one message of the session that the query names."""
        request = McpRequest(scope, receive, Reply(send), server_id, dict(scope["headers"]))
        await self.front.serve(request, self._message)

    async def _stream(self, request: McpRequest, caller: Caller) -> None:
        if request.scope["method"] != "GET":
            await request.reply.json(b"", status=405, headers=((b"allow", b"GET"),))
            return
        offer_for(self.catalog, caller, request.server_id)
        session = await self.sessions.open(caller, Initialize(LEGACY[-1]), request.server_id)
        place = f"/servers/{request.server_id}/messages" if request.server_id else "/messages"
        request.reply = OpeningReply(request.reply.channel, f"{place}?session_id={session.id}")
        try:
            await self.traffic.stream(session, request, caller)
        finally:
            await self.traffic.end(session)

    async def _message(self, request: McpRequest, caller: Caller) -> None:
        if request.scope["method"] != "POST":
            await request.reply.json(b"", status=405, headers=((b"allow", b"POST"),))
            return
        session = await self.sessions.find(_session_id(request), caller, request.server_id)
        envelope = jsonrpc.parse_request(await request.body(self.front.max_body))
        if envelope.method is None:
            await self.traffic.answered(session, envelope)
        elif isinstance(envelope.id, msgspec.UnsetType):
            await self.traffic.notified(session, envelope)
        else:
            request.method, request.request_id = envelope.method, envelope.id
            await request.reply.json(b"", status=_ACCEPTED)
            await self._serve(request, caller, session, envelope)
            return
        await request.reply.json(b"", status=_ACCEPTED)

    async def _serve(self, request: McpRequest, caller: Caller, session: OpenSession, envelope: Envelope) -> None:
        """Do what the message asks for; whatever goes wrong is told on the stream as well."""
        reply = self.traffic.reply_of(SpokenReply, session, request)
        params, meta = jsonrpc.params_and_meta(envelope)
        token = otel_context.attach(telemetry.continue_or_begin(request.trace_carrier(meta)))
        incoming = Incoming(
            caller, request.server_id, request.request_id, request.method, params, meta, request.peer,
            session=(session.key, session.record),
        )  # fmt: skip

        async def work() -> None:
            if request.method == "initialize":
                await self._initialize(request, caller, session, envelope)
            else:
                await self.methods.serve(incoming, reply)

        try:
            live = self.front.live
            await self.traffic.run(reply, lambda: self.front.guarded(request, lambda: live.watched(caller, work)))
        finally:
            otel_context.detach(token)

    async def _initialize(self, request: McpRequest, caller: Caller, session: OpenSession, envelope: Envelope) -> None:
        asked = read_initialize(envelope.params)
        version = asked.protocol_version if asked.protocol_version in _SPOKEN else VERSION

        def told(record: Session) -> Session:
            return msgspec.structs.replace(
                record, protocol_version=version, capabilities=asked.capabilities, client_info=asked.client_info
            )

        await self.sessions.update(session.key, told)
        result = initialize_result(version, offer_for(self.catalog, caller, request.server_id), caller)
        await request.reply.answer(jsonrpc.answer(request.request_id, result))


def _session_id(request: McpRequest) -> str:
    query = parse_qs(request.scope.get("query_string", b"").decode("latin-1"), max_num_fields=8)
    named = query.get("session_id") or query.get("sessionId")
    if not named:
        raise RpcError(INVALID_REQUEST, "the query must name a session_id, as the stream's endpoint does", status=400)
    return named[0]
