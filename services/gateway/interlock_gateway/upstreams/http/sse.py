"""HTTP with SSE of 2024-11-05 toward upstreams: a stream for each session key, opened again when it was lost."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

import msgspec

from interlock_common.errors import UpstreamFailed
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import DESCRIBE, Description
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.upstreams.connections import UpstreamBusy, Way, Ways
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.http.incoming import messages_of
from interlock_gateway.upstreams.http.listening import ListenUnsupported
from interlock_gateway.upstreams.http.sessions import Handshake
from interlock_gateway.upstreams.http.sse_inbox import Inbox
from interlock_gateway.upstreams.http.sse_stream import Pending, SseStream, StreamLost
from interlock_gateway.upstreams.transport import UpstreamRequest

_MAX_STREAMS = 1_000
_UNUSED_SECONDS = 60.0
_CANCEL_SECONDS = 5.0

type _Key = tuple[str, str]


class SseTransport:
    """The way to upstreams of the kind ``sse``.

    Streams belong to this edge: another one that serves the same client opens its own. Those that nobody used for
    ``unused_seconds`` are closed. ``interlock/describe`` is answered from the handshake.
    """

    def __init__(self, ways: Ways, credentials: Credentials, *, unused_seconds: float = _UNUSED_SECONDS) -> None:
        self._ways = ways
        self._credentials = credentials
        self._unused_seconds = unused_seconds
        self._ids = itertools.count(1)
        self._streams: dict[_Key, SseStream] = {}
        self._reaper: asyncio.TimerHandle | None = None

    def open(self, request: UpstreamRequest) -> "SseExchange":
        """Send ``request`` when entered, on the stream of its session key."""
        return SseExchange(self, self._ways, request, next(self._ids))

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """list_changed and resource updates that come on the stream of the session key."""
        return self._listen(upstream, principal, session_key, uris)

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        """POST to the stream of the session key, where this edge has it open."""
        del principal  # the stream was opened with a credential, and its messages carry it
        stream = self._streams.get((upstream.id, session_key))
        if stream is not None and not stream.over:
            await stream.opened()
            await stream.post(message, within=_CANCEL_SECONDS)

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        """Closing the stream ends the session, in this revision."""
        stream = self._streams.pop((upstream.id, session_key), None)
        if stream is not None:
            await stream.close()

    async def stop(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
        for stream in self._streams.values():
            await stream.close()
        self._streams.clear()

    async def stream(self, way: Way, upstream: Upstream, key: str, principal: str, capabilities: bytes) -> SseStream:
        """The stream of a session key, open; raises what its opening raised."""
        place = (upstream.id, key)
        stream = self._streams.get(place)
        if stream is None or stream.over:
            if stream is not None:
                self._ways.in_background(stream.close(), must=True)
            self._make_room(way)
            stream = SseStream(way, upstream, principal, capabilities, self._credentials, self._ids)
            self._streams[place] = stream
            self._reap_later()
        await stream.opened()
        return stream

    @asynccontextmanager
    async def _listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        way = self._ways.of(upstream)
        stream = await self.stream(way, upstream, session_key, principal, b"{}")
        inbox = Inbox(way.name, way.max_answer, way.share())
        stream.listeners.add(inbox)
        try:
            for uri in uris:
                answer = await stream.ask("resources/subscribe", msgspec.json.encode({"uri": uri}))
                if any(head.error is not msgspec.UNSET for _, head in messages_of(answer, way.name)):
                    raise ListenUnsupported(f"upstream {way.name} takes no subscription to a resource")
            yield inbox.rest()
        finally:
            stream.listeners.discard(inbox)
            inbox.discard()
            stream.used_at = asyncio.get_running_loop().time()

    def _make_room(self, way: Way) -> None:
        if len(self._streams) < _MAX_STREAMS:
            return
        unused = [key for key, stream in self._streams.items() if not stream.in_use]
        if not unused:
            raise UpstreamBusy(f"upstream {way.name} needs a stream of its own, and {_MAX_STREAMS} are open here")
        oldest = min(unused, key=lambda key: self._streams[key].used_at)
        self._ways.in_background(self._streams.pop(oldest).close(), must=True)

    def _reap_later(self) -> None:
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(self._unused_seconds / 2, self._reap)

    def _reap(self) -> None:
        """Close what nobody uses, and look again while anything is open."""
        self._reaper = None
        before = asyncio.get_running_loop().time() - self._unused_seconds
        for key, stream in list(self._streams.items()):
            if stream.over or (not stream.in_use and stream.used_at <= before):
                del self._streams[key]
                self._ways.in_background(stream.close(), must=True)
        if self._streams:
            self._reap_later()


class SseExchange:
    """One request on a shared stream; leaving it before its response sends ``notifications/cancelled``."""

    def __init__(self, transport: SseTransport, ways: Ways, request: UpstreamRequest, request_id: int) -> None:
        self._transport = transport
        self._ways = ways
        self._way = ways.of(request.upstream)
        self._request = request
        self._id = request_id
        self._probe = False
        self._stream: SseStream | None = None
        self._pending: Pending | None = None
        self._answered = False

    async def __aenter__(self) -> Self:
        self._probe = await self._way.enter()
        try:
            try:
                await self._begin()
            except StreamLost:
                await self._forget_stream()
                await self._begin()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._pending is None or self._answered:
            raise StopAsyncIteration
        deadlines = self._pending.deadlines
        while True:
            message = self._pending.inbox.take()
            if message is not None:
                break
            when = deadlines.when()
            try:
                message = await self._pending.inbox.get(when)
                break
            except TimeoutError as error:
                if when == deadlines.when():  # nothing that came meanwhile moved it
                    raise self._way.broken(error) from None
        if message is None:
            raise UpstreamMisbehaved(f"upstream {self._way.name} ended its answer without a response")
        self._answered = self._pending.inbox.empty_for_good
        return message

    async def answer(self, message: bytes) -> None:
        """POST the response to a request of the upstream."""
        if self._stream is None or self._pending is None:
            raise StreamLost(f"upstream {self._way.name} ended its stream")
        await self._stream.post(message, within=self._way.idle_timeout)
        self._pending.deadlines.answered()

    async def _begin(self) -> None:
        request = self._request
        stream = await self._transport.stream(
            self._way, request.upstream, request.session_key, request.principal, request.capabilities
        )
        self._stream = stream
        self._pending = stream.pending[self._id] = Pending(self._way, request.params)
        if request.method == DESCRIBE and stream.handshake is not None:
            self._pending.inbox.put(jsonrpc.answer(self._id, _description(stream.handshake)))
            self._pending.inbox.end()
            return
        body = jsonrpc.request(self._id, request.method, request.params)
        await stream.post(body, within=self._pending.deadlines.remaining())
        self._way.breaker.answering()

    async def _forget_stream(self) -> None:
        self._leave_stream()
        if self._stream is not None:
            await self._stream.close()

    def _leave_stream(self) -> None:
        if self._stream is not None:
            self._stream.pending.pop(self._id, None)
            if self._pending is not None:
                self._pending.inbox.discard()
            self._stream.used_at = asyncio.get_running_loop().time()

    def _end(self) -> None:
        stream = self._stream
        self._leave_stream()
        if stream is not None and not self._answered and not stream.over:
            self._ways.in_background(self._cancel(stream))
        self._way.leave(probe=self._probe)

    async def _cancel(self, stream: SseStream) -> None:
        params = msgspec.json.encode({"requestId": self._id, "reason": "the client does not wait any more"})
        body = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":%s}' % params
        try:
            await stream.post(body, within=_CANCEL_SECONDS)
        except UpstreamFailed:
            return


def _description(handshake: Handshake) -> bytes:
    return msgspec.json.encode(
        Description("legacy", handshake.protocol_version, handshake.capabilities, handshake.instructions)
    )
