"""The one place that reads the time, so that tests can move it."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What needs the time asks for it here."""

    def now(self) -> datetime:
        """The moment, in UTC, with its time zone."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, for claims and expiries."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back, for deadlines and durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a test clock returns when its time was moved far enough."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the one allowed place

    def time(self) -> float:
        return time.time()  # noqa: TID251 - the one allowed place

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


SYSTEM_CLOCK = SystemClock()
