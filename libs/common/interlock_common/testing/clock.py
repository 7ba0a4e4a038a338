"""A clock that a test moves."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

_START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Stands still until ``advance``; whoever sleeps until a moment passed on the way wakes."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._slept = asyncio.Event()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def time(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), wake))
        self._slept.set()
        await wake

    def advance(self, seconds: float) -> None:
        """Move time; sleepers wake in the order of their moments when the loop runs next."""
        self._elapsed += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            _, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)

    async def until_asleep(self, timeout: float = 5.0) -> None:
        """Wait until somebody sleeps: what was woken has gone as far as it can without time."""
        async with asyncio.timeout(timeout):
            while not any(not wake.done() for _, _, wake in self._sleepers):
                self._slept.clear()
                await self._slept.wait()
