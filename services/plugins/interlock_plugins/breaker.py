"""A circuit breaker: a plugin that keeps failing is left out for a while instead of costing every call its time."""

from interlock_common.clock import Clock

FAILURES = 5
COOLDOWN = 30.0
"""Seconds until one call may try again."""


class Breaker:
    """Opens after ``FAILURES`` failures in a row; after ``COOLDOWN`` the next call is the trial."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0

    def is_open(self) -> bool:
        """Whether the plugin is to be left out; the call that ends the cooldown is let through alone."""
        if self._failures < FAILURES:
            return False
        now = self._clock.monotonic()
        if now < self._retry_at:
            return True
        self._retry_at = now + COOLDOWN
        return False

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        self._failures += 1
        self._retry_at = self._clock.monotonic() + COOLDOWN
