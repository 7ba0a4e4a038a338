"""How long an edge trusts what it knows of revocations: as long as auth says, each second, that it has all of them."""

from collections.abc import Callable, Collection

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages.revocation import Heartbeat

_DRIFT = 0.001
"""Seconds a second by which two clocks may drift apart, and more."""
_MISFITS = 2
_BEHIND = 3
_MAX_SENDERS = 64
_log = structlog.get_logger()


class RevocationStale(Unavailable):
    """Nobody has said for longer than the lease that no revocation is missing here."""

    code = "revocation_stale"


class Lease:
    """Fresh until ``seconds`` after auth sent the last heartbeat whose sequence has been reached here.

    Counted from when it was sent, not from when it arrived: what waited in a buffer says nothing of now. ``applied``
    and ``digest`` say how far revocations have come here, ``reread`` reads them anew. ``best_effort`` names the methods
    that go on all the same.
    """

    def __init__(
        self, clock: Clock, seconds: float, applied: Callable[[], int], digest: Callable[[], int],
        reread: Callable[[], None], best_effort: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.seconds = seconds
        self.best_effort = frozenset(best_effort)
        self._clock = clock
        self._applied = applied
        self._digest = digest
        self._reread = reread
        self._until = 0.0
        self._offsets: dict[str, tuple[float, float]] = {}
        self._awaited: list[tuple[int, float]] = []
        self._misfits = self._behind = 0

    @property
    def stale(self) -> bool:
        return self._clock.monotonic() > self._until

    def problem(self) -> str | None:
        """Why strict requests are refused, for health checks."""
        return f"no heartbeat of revocations for more than {self.seconds:g} s" if self.stale else None

    def require(self, method: str) -> None:
        """Refuse ``method`` while stale, unless it may go on; raises RevocationStale."""
        if self.stale and method not in self.best_effort:
            raise RevocationStale(
                f"revocations are not confirmed for more than {self.seconds:g} s: tokens cannot be trusted",
                retry_after=1,
            )

    def require_unless_sorted_later(self) -> None:
        """Refuse while stale, before it is known what is asked for, unless that may make a difference."""
        if not self.best_effort:
            self.require("")

    def heard(self, heartbeat: Heartbeat) -> None:
        """Take note of a heartbeat; it counts once its sequence has been reached."""
        sent = self._sent(heartbeat)
        applied = self._applied()
        if heartbeat.sequence > applied:
            self._wait_for(heartbeat.sequence, sent)
            return
        self._behind = self._behind + 1 if heartbeat.sequence < applied else 0
        if heartbeat.sequence == applied and heartbeat.digest != f"{self._digest():032x}":
            self._misfits += 1
            if self._misfits >= _MISFITS:
                self._start_over("the set of revocations differs from that of auth")
            return
        self._misfits = 0
        if self._behind >= _BEHIND:  # the bucket was lost, and begun anew
            self._start_over("auth is behind: the bucket is another one")
            return
        self._renew(sent)

    def reached(self) -> None:
        """Revocations have come further here."""
        applied = self._applied()
        while self._awaited and self._awaited[0][0] <= applied:
            self._renew(self._awaited.pop(0)[1])

    def _wait_for(self, sequence: int, sent: float) -> None:
        self._awaited.append((sequence, sent))
        if sent - self._awaited[0][1] > self.seconds:
            self._start_over("revocations are announced that do not arrive")

    def _start_over(self, reason: str) -> None:
        _log.error("revocations are read anew", reason=reason, applied=self._applied())
        self._awaited.clear()
        self._misfits = self._behind = 0
        self._reread()

    def _renew(self, sent: float) -> None:
        self._until = max(self._until, sent + self.seconds)

    def _sent(self, heartbeat: Heartbeat) -> float:
        """When it was sent, by the clock of this process: the quickest heartbeat of its sender is taken for prompt."""
        now = self._clock.monotonic()
        offset = now - heartbeat.sent
        if heartbeat.instance in self._offsets:
            known, at = self._offsets.pop(heartbeat.instance)
            offset = min(offset, known + (now - at) * _DRIFT)
        elif len(self._offsets) >= _MAX_SENDERS:
            del self._offsets[next(iter(self._offsets))]
        self._offsets[heartbeat.instance] = (offset, now)
        return heartbeat.sent + offset
