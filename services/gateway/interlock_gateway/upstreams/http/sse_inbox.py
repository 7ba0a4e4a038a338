"""What a shared stream brings for one reader, in bounds: a slow reader must hold up nobody else."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from interlock_common.errors import UpstreamFailed
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.upstreams.room import NoRoom, Share

_MAX_MESSAGES = 1_000


class Inbox:
    """Messages for one exchange or listener of ``upstream``, at most ``limit`` bytes of them at a time.

    What they take of the room for large answers is ``share``; whoever reads gives it back with ``discard``.
    """

    def __init__(self, upstream: str, limit: int, share: Share) -> None:
        self._share = share
        self._upstream = upstream
        self._limit = limit
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._error: UpstreamFailed | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Keep a message for the reader; one that reads too slowly is failed."""
        if self._error is not None or self._ended:
            return
        self._size += len(message)
        if self._size > self._limit or len(self._messages) >= _MAX_MESSAGES:
            self._messages.clear()
            self.fail(UpstreamMisbehaved(f"upstream {self._upstream} sends more than is read of it"))
            return
        try:
            self._share.hold(self._size)
        except NoRoom as error:
            self._messages.clear()
            self.fail(error)
            return
        self._messages.append(message)
        self._changed.set()

    def discard(self) -> None:
        """Nobody reads any further."""
        self._ended = True
        self._messages.clear()
        self._share.hold(0)

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._changed.set()

    def fail(self, error: UpstreamFailed) -> None:
        self._error = self._error or error
        self._changed.set()

    def take(self) -> bytes | None:
        """The next message, if there is one; raises what the inbox was failed with."""
        if self._messages:
            message = self._messages.popleft()
            self._size -= len(message)
            self._share.hold(self._size)
            return message
        if self._error is not None:
            raise self._error
        return None

    @property
    def empty_for_good(self) -> bool:
        return self._ended and not self._messages

    def wake(self) -> None:
        """Let whoever waits for something look again."""
        self._changed.set()

    async def something(self) -> None:
        """Wait for a message, a failure, the end, or ``wake``; what was there before is not waited for."""
        self._changed.clear()
        await self._changed.wait()

    async def get(self, until: float | None = None) -> bytes | None:
        """The next message, None at the end; raises TimeoutError at the loop's time ``until``."""
        while (message := self.take()) is None and not self._ended:
            async with asyncio.timeout_at(until):
                await self.something()
        return message

    async def rest(self) -> AsyncGenerator[bytes]:
        """What comes, until the end."""
        while (message := await self.get()) is not None:
            yield message
