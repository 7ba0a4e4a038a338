"""One HTTP answer of the MCP endpoint over ASGI: a JSON body, or a stream of events."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from interlock_gateway.jsonrpc import INTERNAL_ERROR, RpcError

type Send = Callable[[dict[str, Any]], Awaitable[None]]
type HeaderPairs = Iterable[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)
RECORD_HEADER = b"interlock-audit"
SEND_SECONDS = 30.0
"""How long a reader may take for a part of what is said; one that is slow but reads is no reader too slow."""
_PART = 256 * 1024


class Gone(BaseException):
    """The client left before it was answered, so nobody is there to be told anything.

    No error, as a cancellation is none: whatever turns errors into answers must let it pass.
    """


class Reply:
    """Sends at most one answer; ``record_id`` tells the caller which audit record the call has.

    ``quiet`` counts the seconds since something was sent, for whoever keeps the connection alive.
    """

    __slots__ = ("_send", "finished", "lost", "quiet", "record_id", "sending", "size", "started", "streaming")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.streaming = False
        self.finished = False
        self.size = 0
        self.quiet = 0.0
        self.record_id = ""
        self.lost = asyncio.Event()
        """Set when the reader has taken nothing for so long that it counts as gone."""
        self.sending = asyncio.Lock()
        """Held while something is sent: signs of life come from elsewhere than the answer."""

    @property
    def channel(self) -> Send:
        """Where the answer goes, for a reply that takes the place of this one."""
        return self._send

    async def json(self, body: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        """The whole answer in one body; an empty one has no content type."""
        fixed = (JSON, (b"content-length", str(len(body)).encode())) if body else ((b"content-length", b"0"),)
        self.finished = True
        await self._start(status, (*fixed, *headers))
        await self._body(body, more=False)

    async def open_stream(self, headers: HeaderPairs = ()) -> None:
        """Commit to a stream of events; nothing is held back from here on."""
        self.streaming = True
        await self._start(200, (*_STREAM_HEADERS, *headers))

    async def event(self, data: bytes) -> None:
        """One server-sent event (WHATWG HTML, section 9.2); opens the stream when it is the first."""
        async with self.sending:
            if not self.streaming:
                await self.open_stream()
            await self.write_event(data)

    async def write_event(self, data: bytes, event_id: bytes = b"") -> None:
        """An event of a stream that is open."""
        named = b"id: " + event_id + b"\n" if event_id else b""
        await self._body(named + b"event: message\ndata: " + data + b"\n\n", more=True)

    async def prime(self, event_id: bytes, retry_ms: int) -> None:
        """The event that gives a client something to resume from before anything was said (MCP 2025-11-25)."""
        await self._body(b"id: %s\nretry: %d\ndata: \n\n" % (event_id, retry_ms), more=True)

    async def notify(self, message: bytes) -> None:
        await self.event(message)

    async def ask(self, method: str, params: bytes) -> bytes:
        """Nobody can be asked over this: clients of the stateless era are not."""
        del params
        raise RpcError(INTERNAL_ERROR, f"{method} cannot be asked of a client of this era")

    async def comment(self, text: bytes) -> None:
        """A line that clients ignore, to keep the connection alive."""
        await self._body(b": " + text + b"\n\n", more=True)

    async def keep_alive(self) -> None:
        """Show that the answer is still being worked on; what has waited so long becomes a stream."""
        async with self.sending:
            if self.finished:
                return
            if not self.streaming:
                await self.open_stream()
            await self.comment(b"keep-alive")

    async def end_stream(self) -> None:
        self.finished = True
        await self._body(b"", more=False)

    async def answer(self, message: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        """The answer to the request: the last event where a stream is open, a JSON body otherwise."""
        async with self.sending:
            if self.streaming:
                await self.write_event(message)
                await self.end_stream()
            else:
                await self.json(message, status=status, headers=headers)

    async def _start(self, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self.started = True
        if self.record_id:
            headers = (*headers, (RECORD_HEADER, self.record_id.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, body: bytes, *, more: bool) -> None:
        self.size += len(body)
        self.quiet = 0.0
        last = max(len(body) - 1, 0) // _PART
        try:
            for number in range(last + 1):
                part = body[number * _PART : (number + 1) * _PART] if last else body
                async with asyncio.timeout(SEND_SECONDS):
                    await self._send({"type": "http.response.body", "body": part, "more_body": more or number < last})
        except TimeoutError:
            self._give_up()

    def _give_up(self) -> None:
        """The reader takes nothing; an answer without an end makes the server close the connection."""
        self.lost.set()
        raise Gone
