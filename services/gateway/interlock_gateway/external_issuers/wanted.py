"""Asking auth for the keys of an issuer since one is not known: in the background, and not for every guess."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError
from interlock_common.messages.issuers import KeysRead, KeyWanted

PAUSE = 10.0
"""Seconds between two questions about one issuer."""
SETTLING = 2.0
"""Seconds that keys which auth has read may take to be here."""
_log = structlog.get_logger(__name__)


class WantedKeys:
    """Keeps the questions that are under way; ``ask`` puts one to auth."""

    def __init__(self, ask: Callable[[KeyWanted], Awaitable[KeysRead]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._settled: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def want(self, name: str, kid: str) -> bool:
        """Whether it helps to come again in a moment, since the keys of the issuer ``name`` are being read."""
        now = self._clock.monotonic()
        if name in self._running or now < self._settled.get(name, 0.0):
            return True
        if now - self._asked.get(name, -PAUSE) < PAUSE:
            return False
        self._asked[name] = now
        task = asyncio.create_task(self._question(KeyWanted(name, kid)), name=f"keys of issuer {name}")
        self._running[name] = task
        task.add_done_callback(lambda _task: self._running.pop(name, None))
        return True

    async def stop(self) -> None:
        """End the questions that are under way."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _question(self, wanted: KeyWanted) -> None:
        try:
            answer = await self._ask(wanted)
        except InterlockError as error:
            _log.warning("keys of an issuer could not be asked for", issuer=wanted.name, reason=error.detail)
            return
        if answer.read:
            self._settled[wanted.name] = self._clock.monotonic() + SETTLING
