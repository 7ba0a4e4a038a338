"""A certificate of the front end that is about to end, or has ended, is said once a day until another one is there."""

from datetime import timedelta

import structlog
from cryptography import x509

from interlock_common.clock import Clock

_log = structlog.get_logger()
WARNED_BEFORE = timedelta(days=30)
ALARMED_BEFORE = timedelta(days=7)
_DAY = 86400.0


class Lifetime:
    """Looked at often, it speaks seldom."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: tuple[int, float] | None = None

    def look(self, leaf: x509.Certificate) -> None:
        """Warn of less than thirty days; less than seven, or none, is an error."""
        left = leaf.not_valid_after_utc - self._clock.now()
        if left >= WARNED_BEFORE or self._is_said(leaf):
            return
        self._said = (leaf.serial_number, self._clock.monotonic())
        say = _log.error if left < ALARMED_BEFORE else _log.warning
        ended = left <= timedelta(0)
        say(
            "the certificate of the front end has expired" if ended else "the certificate of the front end ends soon",
            days_left=left.days, not_after=leaf.not_valid_after_utc.isoformat(), serial=f"{leaf.serial_number:x}",
        )  # fmt: skip

    def _is_said(self, leaf: x509.Certificate) -> bool:
        if self._said is None:
            return False
        serial, at = self._said
        return serial == leaf.serial_number and self._clock.monotonic() - at < _DAY
