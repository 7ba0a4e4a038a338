"""Work that many ask for at the same time and that is done once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable


class Gathered:
    """Whoever calls waits for a run of ``work`` that began after the call; one runs at a time, and one waits."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        if self._next is None:
            self._next = asyncio.create_task(self._run())
            self._next.add_done_callback(_look_at)
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        async with self._lock:
            self._next = None  # who comes from here on waits for the run after this one
            await self._work()


def _look_at(task: asyncio.Task[None]) -> None:
    """Those who waited may all be gone when it fails."""
    if not task.cancelled():
        task.exception()
