"""Reading one HTTP answer of an upstream, in its bounds of time and size."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.upstreams.connections import Way
from interlock_gateway.upstreams.http.events import EventParser
from interlock_gateway.upstreams.room import Share

OK = 200
_ERROR_BYTES = 1024 * 1024


class Head(msgspec.Struct, frozen=True):
    """What a message is: a request has ``method`` and ``id``, a notification no ``id``, a response no ``method``."""

    id: int | str | float | msgspec.UnsetType | None = msgspec.UNSET
    method: str | None = None
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def asks(self) -> bool:
        return self.method is not None and self.id is not msgspec.UNSET


_head = msgspec.json.Decoder(Head)
_batch = msgspec.json.Decoder(list[msgspec.Raw])


class Deadlines:
    """The idle clock and the hard maximum of one exchange."""

    def __init__(self, way: Way, *, forever: bool = False) -> None:
        now = asyncio.get_running_loop().time()
        self._idle = math.inf if forever else way.idle_timeout
        self._hard = math.inf if forever else now + way.call_timeout
        self._resets = way.progress_resets
        self._silent_until = now + self._idle
        self._questions = 0
        self._timer: asyncio.Timeout | None = None

    def asked(self) -> None:
        """The upstream has asked something; while that is open, its silence is ours."""
        self._questions += 1
        self._move()

    def answered(self) -> None:
        """Something that the upstream asked has its answer."""
        self._questions = max(0, self._questions - 1)
        self.restart()

    def alive(self) -> None:
        """The upstream has said something."""
        if self._resets:
            self.restart()

    def restart(self) -> None:
        self._silent_until = asyncio.get_running_loop().time() + self._idle
        self._move()

    def when(self) -> float | None:
        """The loop's time until which to wait for the next thing, None for ever."""
        when = self._hard if self._questions else min(self._hard, self._silent_until)
        return None if when == math.inf else when

    def remaining(self) -> float:
        """Seconds until the next thing must have come."""
        when = self.when()
        return math.inf if when is None else max(0.0, when - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def bounding(self) -> AsyncGenerator[None]:
        """Raise TimeoutError when the next thing should have come, also where that moves meanwhile."""
        async with asyncio.timeout_at(self.when()) as timer:
            self._timer = timer
            try:
                yield
            finally:
                self._timer = None

    def _move(self) -> None:
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(self.when())


class Incoming:
    """An HTTP answer whose status and headers are here; raises UpstreamUnreachable and UpstreamMisbehaved."""

    def __init__(
        self, way: Way, response: aiohttp.ClientResponse, deadlines: Deadlines, share: Share | None = None
    ) -> None:
        self.response = response
        self.streams = response.headers.get("Content-Type", "").startswith("text/event-stream")
        self._way = way
        self._deadlines = deadlines
        self._share = share
        self._read: bytes | None = None

    @property
    def is_json(self) -> bool:
        return "json" in self.response.headers.get("Content-Type", "").partition(";")[0]

    @property
    def finished(self) -> bool:
        """Whether all of it was read, so that its connection is free for the next request."""
        return self.response.content.at_eof()

    async def chunk(self) -> bytes:
        """What has come by now, or comes next; nothing at the end."""
        content = self.response.content
        try:
            data = content.read_nowait()
            if data or content.at_eof():
                return data
            async with self._deadlines.bounding():
                return await content.readany()
        except (aiohttp.ClientError, OSError) as error:
            self.response.close()
            raise self._way.broken(error) from None

    async def body(self, limit: int | None = None) -> bytes:
        """All of it; what was read before is there again."""
        if self._read is None:
            self._read = await self._whole(limit or self._way.max_answer)
        return self._read

    async def _whole(self, limit: int) -> bytes:
        if (self.response.content_length or 0) > limit:
            raise self._too_large(limit)
        body = await self.chunk()
        if len(body) <= limit and self.response.content.at_eof():
            return body
        whole = bytearray(body)
        while chunk := await self.chunk():
            self._deadlines.alive()
            whole += chunk
            if len(whole) > limit:
                raise self._too_large(limit)
            if self._share is not None:
                self._share.hold(len(whole))
        if len(whole) > limit:
            raise self._too_large(limit)
        return bytes(whole)

    async def response_to(self, request_id: int) -> bytes:
        """The response to ``request_id``, from a body or a stream; what comes before it is passed over."""
        if not self.streams:
            return await self.body(_ERROR_BYTES)
        parser = EventParser(self._way.name, _ERROR_BYTES)
        while chunk := await self.chunk():
            for data in parser.feed(chunk):
                for message, head in messages_of(data, self._way.name):
                    if head.method is None and head.id == request_id:
                        self.response.close()
                        return message
        raise UpstreamMisbehaved(f"upstream {self._way.name} ended its answer without a response")

    async def linger(self) -> None:
        """After the last message: let the connection be used again if the upstream ends its answer at once."""
        try:
            async with asyncio.timeout(1):
                if await self.response.content.readany():
                    self.response.close()
        except (aiohttp.ClientError, OSError):
            pass
        finally:
            if not self.response.content.at_eof():
                self.response.close()

    def _too_large(self, limit: int) -> UpstreamMisbehaved:
        self.response.close()
        return UpstreamMisbehaved(f"the answer of upstream {self._way.name} is over {limit} bytes")


def refusal(way: Way, response: aiohttp.ClientResponse) -> UpstreamMisbehaved:
    """What is to be raised for a status that is no answer; the breaker learns of it."""
    if response.status >= 500:  # noqa: PLR2004 - the class of a server's own failures
        way.breaker.failed()
    else:
        way.breaker.succeeded()
    if 300 <= response.status < 400:  # noqa: PLR2004 - the class of redirects
        return UpstreamMisbehaved(
            f"upstream {way.name} answered HTTP {response.status}: it redirects, which is not followed; "
            "register the address it leads to"
        )
    return UpstreamMisbehaved(f"upstream {way.name} answered HTTP {response.status}")


def messages_of(data: bytes, upstream: str) -> list[tuple[bytes, Head]]:
    """The message that an event carries, or those of a batch (2025-03-26); raises UpstreamMisbehaved."""
    try:
        if data[:1] == b"[":
            return [(bytes(raw), _head.decode(raw)) for raw in _batch.decode(data)]
        return [(data, _head.decode(data))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamMisbehaved(f"upstream {upstream} sent what is not JSON-RPC") from None
