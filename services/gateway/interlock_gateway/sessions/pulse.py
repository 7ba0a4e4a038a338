"""Signs of life on answers that take their time, so that nothing on the way takes them for dead."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from interlock_common.clock import Clock
from interlock_gateway.endpoints.reply import Reply

KEEP_ALIVE_SECONDS = 15.0
_TICK_SECONDS = 1.0


class Pulse:
    """Looks every second after all answers that are under way: one timer for all of them."""

    def __init__(self, clock: Clock, *, silence: float = KEEP_ALIVE_SECONDS) -> None:
        self._clock = clock
        self._silence = silence
        self._tick = min(_TICK_SECONDS, silence / 2)
        self._replies: set[Reply] = set()
        self._sending: dict[Reply, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._beat(), name="signs of life")

    async def stop(self) -> None:
        tasks = [*self._sending.values(), *((self._task,) if self._task else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def beating(self, reply: Reply) -> Generator[None]:
        """Keep the connection of ``reply`` alive until the block ends."""
        self._replies.add(reply)
        try:
            yield
        finally:
            self._replies.discard(reply)
            if (task := self._sending.get(reply)) is not None:
                task.cancel()

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(self._tick)
            for reply in self._replies:
                reply.quiet += self._tick
                if reply.quiet >= self._silence and reply not in self._sending:
                    reply.quiet = 0.0
                    self._send(reply)

    def _send(self, reply: Reply) -> None:
        task = self._sending[reply] = asyncio.create_task(reply.keep_alive(), name="sign of life")
        task.add_done_callback(lambda done: self._sent(reply, done))

    def _sent(self, reply: Reply, done: asyncio.Task[None]) -> None:
        del self._sending[reply]
        if not done.cancelled():
            done.exception()  # a connection that is gone shows itself to whoever answers
