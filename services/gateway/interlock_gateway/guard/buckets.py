"""Token buckets, one per key, as a single number each: the moment at which the bucket would be full again.

A bucket holds ``burst`` tokens and gets ``rate`` a second (the generic cell rate algorithm, ITU-T I.371, annex A, in
its virtual scheduling form). The moment lies ahead of now by as many seconds as the missing tokens take to come.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError

_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)/([0-9]{1,9})")
OFF = "off"
MAX_KEYS = 50_000
_EAGER_PART = 8
_REPORT_SECONDS = 1.0
ONE = 1 - 1e-6
"""A token, as far as numbers with a fraction can tell."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests a second in the long run, and at most so many at once."""

    rate: float
    burst: int

    @classmethod
    def parse(cls, name: str, text: str) -> "Rate | None":
        """``rate/burst`` as a setting has it, None for ``off``; raises ConfigurationError that names the setting."""
        if text.strip().lower() == OFF:
            return None
        match = _RATE.fullmatch(text.strip())
        if match is None or float(match[1]) <= 0 or int(match[2]) < 1:
            raise ConfigurationError(f"{name} is requests a second and a burst, as in 100/200, or {OFF}")
        return cls(float(match[1]), int(match[2]))


class Buckets:
    """The buckets of one kind of key, at most ``capacity``: whoever was not seen for longest makes place.

    With ``wake``, what is taken here is kept for the other edges until ``collect``, and ``wake`` is called when that is
    an eighth of a burst; what they took comes in with ``taken_elsewhere``.
    """

    __slots__ = (
        "_burst", "_burst_seconds", "_capacity", "_clock", "_eager", "_full_at", "_rate", "_spacing", "_used", "_wake",
        "limit",
    )  # fmt: skip

    def __init__(
        self, limit: Rate, clock: Clock, *, capacity: int = MAX_KEYS, wake: Callable[[], None] | None = None
    ) -> None:
        self.limit = limit
        self._clock = clock
        self._capacity = capacity
        self._rate, self._burst = limit.rate, limit.burst
        self._spacing = 1 / limit.rate
        self._burst_seconds = limit.burst / limit.rate
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._used: dict[str, int] = {}
        self._eager = max(1, limit.burst // _EAGER_PART)
        self._wake = wake

    def __len__(self) -> int:
        return len(self._full_at)

    def left(self, key: str, now: float) -> float:
        """The tokens of ``key``, less than one where there is none to take; a debt where other edges took too many."""
        full_at = self._full_at.get(key, now)
        return self._burst if full_at <= now else self._burst - (full_at - now) * self._rate

    def take(self, key: str, now: float) -> float:
        """Take a token where there is one, which is where the answer, what was left before, is at least ``ONE``."""
        full_at = self._full_at
        before = full_at.get(key, now)
        if before <= now:
            before, left = now, float(self._burst)
        else:
            left = self._burst - (before - now) * self._rate
            full_at.move_to_end(key)
            if left < ONE:
                return left
        full_at[key] = before + self._spacing
        if len(full_at) > self._capacity:
            full_at.popitem(last=False)
        if self._wake is not None:
            used = self._used[key] = self._used.get(key, 0) + 1
            if used == self._eager:
                self._wake()
        return left

    def give_back(self, key: str) -> None:
        """Undo ``take``, for a request that another limit refused."""
        if key in self._full_at:
            self._full_at[key] -= self._spacing
        if self._used.get(key, 0) > 0:
            self._used[key] -= 1

    def wait(self, left: float) -> float:
        """Seconds until there is a token, of a bucket with ``left`` tokens."""
        return max(0.0, (1 - left) * self._spacing)

    def until_full(self, left: float) -> float:
        """Seconds until the bucket is full, of one with ``left`` tokens."""
        return self._burst_seconds - left * self._spacing

    def collect(self) -> dict[str, int]:
        """What was taken at this edge since the last time, by key."""
        used, self._used = self._used, {}
        return {key: count for key, count in used.items() if count > 0}

    def taken_elsewhere(self, key: str, count: int) -> None:
        """Take what another edge gave out; a number that no edge can have given out is cut."""
        most = self.limit.burst + self.limit.rate * _REPORT_SECONDS
        full_at, now = self._full_at, self._clock.monotonic()
        full_at[key] = max(full_at.get(key, now), now) + min(count, most) * self._spacing
        full_at.move_to_end(key)
        if len(full_at) > self._capacity:
            full_at.popitem(last=False)
