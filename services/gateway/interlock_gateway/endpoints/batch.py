"""Batches: several messages in one POST, which only revision 2025-03-26 has (MCP 2025-03-26, base protocol).

Its requests are served side by side, each as if it had come alone; the answers are events of one stream, in the
order in which they are ready.
"""

import asyncio
from dataclasses import dataclass

import msgspec
from opentelemetry import context as otel_context

from interlock_common import telemetry
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints.front import HttpFront
from interlock_gateway.endpoints.reply import HeaderPairs, Reply
from interlock_gateway.endpoints.requests import McpRequest
from interlock_gateway.jsonrpc import INVALID_REQUEST, PARSE_ERROR, Envelope, RpcError
from interlock_gateway.methods import Incoming, Methods
from interlock_gateway.sessions.client import SessionReply
from interlock_gateway.sessions.registry import OpenSession
from interlock_gateway.sessions.traffic import SessionTraffic

REVISION = "2025-03-26"
MAX_MESSAGES = 50
_ENDING_SECONDS = 5.0
_ACCEPTED = 202

_items = msgspec.json.Decoder(list[msgspec.Raw])


def is_batch(body: bytes) -> bool:
    return body.lstrip(b" \t\r\n")[:1] == b"["


def parse_batch(body: bytes) -> list[Envelope]:
    """The messages of a batch, all of them or none; raises RpcError with -32700 or -32600."""
    jsonrpc.check_depth(body)
    try:
        items = _items.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RpcError(PARSE_ERROR, "the body is not JSON", status=400) from None
    if not 1 <= len(items) <= MAX_MESSAGES:
        raise RpcError(INVALID_REQUEST, f"a batch has 1 to {MAX_MESSAGES} messages", status=400)
    return [jsonrpc.parse(bytes(item)) for item in items]


class BatchReply(SessionReply):
    """The stream that the answers of a whole batch come over; it ends when all of them have."""

    __slots__ = ("left", "over")

    left: int
    over: asyncio.Event

    def expect(self, count: int) -> None:
        self.left = count
        self.over = asyncio.Event()

    def done(self) -> None:
        self.left -= 1
        if not self.left:
            self.over.set()

    async def answer(self, message: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        """Nothing: a batch has no answer but those of its requests."""

    async def end(self) -> None:
        try:
            async with asyncio.timeout(_ENDING_SECONDS):  # those that were ended together with it say so first
                await self.over.wait()
        except TimeoutError:
            pass
        await super().end()


class PartReply(SessionReply):
    """The client of one request of a batch: all it is told comes over the stream of the batch."""

    __slots__ = ("batch",)

    batch: BatchReply

    async def event(self, data: bytes) -> None:
        self.size += len(data)
        await self.batch.event(data)

    async def answer(self, message: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        del status, headers
        if not self.finished:
            self.finished = True
            try:
                await self.event(message)
            finally:
                self.batch.done()

    async def end(self) -> None:
        if not self.finished:
            self.finished = True
            self.batch.done()

    async def keep_alive(self) -> None:
        """The stream of the batch has signs of life of its own."""


@dataclass(frozen=True, slots=True)
class Batches:
    """What serving a batch needs; the session it belongs to is found already."""

    front: HttpFront
    methods: Methods
    traffic: SessionTraffic

    async def serve(self, request: McpRequest, caller: Caller, session: OpenSession, body: bytes) -> None:
        """Take what needs no answer, and answer the rest; raises RpcError for what is no batch, or may not be one."""
        if session.record.protocol_version != REVISION:
            raise RpcError(INVALID_REQUEST, f"batches are of revision {REVISION}, and of no other", status=400)
        envelopes = parse_batch(body)
        self.front.count(request, caller, len(envelopes) - 1)
        for envelope in envelopes:
            if envelope.method is None:
                await self.traffic.answered(session, envelope)
            elif isinstance(envelope.id, msgspec.UnsetType):
                await self.traffic.notified(session, envelope)
        requests = [each for each in envelopes if each.method and not isinstance(each.id, msgspec.UnsetType)]
        if not requests:
            await request.reply.json(b"", status=_ACCEPTED)
            return
        whole = self.traffic.reply_of(BatchReply, session, request)
        whole.expect(len(requests))

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                for envelope in requests:
                    group.create_task(self._part(request, caller, whole, envelope))
            await whole.end()

        await self.traffic.run(whole, work)

    async def _part(self, batch: McpRequest, caller: Caller, whole: BatchReply, envelope: Envelope) -> None:
        """One request of a batch, from what it says to its answer; whatever goes wrong is its answer."""
        request = McpRequest(batch.scope, batch.receive, Reply(whole.channel), batch.server_id, batch.headers, caller)
        request.method = envelope.method or ""
        request.request_id = None if isinstance(envelope.id, msgspec.UnsetType) else envelope.id
        part = self.traffic.reply_of(PartReply, whole.session, request)
        part.batch = whole
        live = self.front.live

        async def work() -> None:
            await self._served(request, caller, part, envelope)

        async def watched() -> None:
            await self.front.guarded(request, lambda: live.watched(caller, work))

        await self.front.guarded(request, lambda: self.traffic.run(part, watched))

    async def _served(self, request: McpRequest, caller: Caller, part: PartReply, envelope: Envelope) -> None:
        params, meta = jsonrpc.params_and_meta(envelope)
        session = (part.session.key, part.session.record)
        incoming = Incoming(
            caller, request.server_id, request.request_id, request.method, params, meta, request.peer, request.headers,
            session,
        )  # fmt: skip
        token = otel_context.attach(telemetry.continue_or_begin(request.trace_carrier(meta)))
        try:
            await self.methods.serve(incoming, part)
        finally:
            request.target = incoming.target
            otel_context.detach(token)
