"""One HTTP answer of the MCP endpoint over ASGI: a JSON body, or a stream of events."""

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


class Reply:
    """Sends at most one answer; ``record_id`` tells the caller which audit record the call has."""

    __slots__ = ("_send", "record_id", "size", "started", "streaming")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False
        self.streaming = False
        self.size = 0
        self.record_id = ""

    async def json(self, body: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        """The whole answer in one body; an empty one has no content type."""
        fixed = (JSON, (b"content-length", str(len(body)).encode())) if body else ((b"content-length", b"0"),)
        await self._start(status, (*fixed, *headers))
        await self._body(body, more=False)

    async def open_stream(self, headers: HeaderPairs = ()) -> None:
        """Commit to a stream of events; nothing is held back from here on."""
        self.streaming = True
        await self._start(200, (*_STREAM_HEADERS, *headers))

    async def event(self, data: bytes) -> None:
        """One server-sent event (WHATWG HTML, section 9.2); opens the stream when it is the first."""
        if not self.streaming:
            await self.open_stream()
        await self._body(b"event: message\ndata: " + data + b"\n\n", more=True)

    async def notify(self, message: bytes) -> None:
        await self.event(message)

    async def ask(self, method: str, params: bytes) -> bytes:
        """Nobody can be asked over this: clients of the stateless era are not."""
        del params
        raise RpcError(INTERNAL_ERROR, f"{method} cannot be asked of a client of this era")

    async def comment(self, text: bytes) -> None:
        """A line that clients ignore, to keep the connection alive."""
        await self._body(b": " + text + b"\n\n", more=True)

    async def end_stream(self) -> None:
        await self._body(b"", more=False)

    async def answer(self, message: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        """The answer to the request: the last event where a stream is open, a JSON body otherwise."""
        if self.streaming:
            await self.event(message)
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
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
