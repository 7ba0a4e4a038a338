"""A circuit breaker: an upstream that fails again and again is left alone for a while, and then tried by one call.

Only failures of the way count: no connection, no answer in time, an answer that breaks off, HTTP 5xx. An error that
the upstream answers, and a tool that fails, are answers.
"""

import random
from collections.abc import Callable

from interlock_common.clock import Clock
from interlock_gateway.errors import UpstreamUnreachable

_THRESHOLD = 5
_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 60.0


class UpstreamResting(UpstreamUnreachable):
    """The upstream failed too often and is not asked at the moment; field ``retry_after`` has the seconds."""

    code = "upstream_resting"


class Breaker:
    """Closed while all is well, open while the upstream rests, half open while one call probes it.

    A rest is twice as long as the one before (shortened by up to a quarter, by chance, so that edges do not probe
    together), until a call has come to its end.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        threshold: int = _THRESHOLD,
        first_rest: float = _FIRST_REST_SECONDS,
        longest_rest: float = _LONGEST_REST_SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._name = name
        self._clock = clock
        self._threshold = threshold
        self._first_rest = first_rest
        self._longest_rest = longest_rest
        self._chance = chance
        self._failures = 0
        self._rests = 0
        self._open_until: float | None = None
        self._probing = False

    def enter(self) -> bool:
        """Let a call pass, or raise UpstreamResting; answers whether it is the probe. ``leave`` must follow."""
        if self._open_until is None:
            return False
        remaining = self._open_until - self._clock.monotonic()
        if remaining > 0:
            raise UpstreamResting(
                f"upstream {self._name} failed {self._failures} times in a row and is tried again in {remaining:.1f} s",
                retry_after=remaining,
            )
        if self._probing:
            raise UpstreamResting(f"upstream {self._name} is being tried after a failure, by one call", retry_after=1.0)
        self._probing = True
        return True

    def answering(self) -> None:
        """An answer has begun: others may pass, and one more failure makes the upstream rest again."""
        if self._open_until is not None:
            self._open_until = None
            self._failures = self._threshold - 1

    def succeeded(self) -> None:
        """An answer has come to its end."""
        self._failures = self._rests = 0
        self._open_until = None

    def failed(self) -> None:
        """The way failed; calls that were under way when the upstream began to rest do not make the rest longer."""
        self._failures += 1
        if self._failures < self._threshold or (self._open_until is not None and not self._probing):
            return
        rest = min(self._first_rest * 2**self._rests, self._longest_rest)
        self._rests = min(self._rests + 1, 16)
        self._open_until = self._clock.monotonic() + rest * (1 - self._chance() / 4)
        self._probing = False

    def leave(self, *, probe: bool) -> None:
        """The call is over; a probe that came to no verdict leaves the next call to be one."""
        if probe:
            self._probing = False
