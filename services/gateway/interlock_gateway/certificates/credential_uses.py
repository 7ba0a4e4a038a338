"""By which credentials principals come in here: counted for each request, told to auth every ten seconds.

A report that is lost is lost: what it is for is a migration, and no limit depends on it.
"""

from collections.abc import Awaitable, Callable

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError
from interlock_common.messages.credential_uses import Credential, CredentialUse, ReportCredentials

REPORT_SECONDS = 10.0
_MOST_AT_ONCE = 1000
_MOST = 20_000
_log = structlog.get_logger()

type Tell = Callable[[ReportCredentials], Awaitable[object]]


class CredentialCounts:
    """What is not told yet; beyond 20,000 principals within ten seconds they are not counted."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Credential], int] = {}

    def count(self, principal: str, credential: Credential) -> None:
        key = principal, credential
        counts = self._counts
        if key in counts or len(counts) < _MOST:
            counts[key] = counts.get(key, 0) + 1

    def take(self, now: int) -> list[CredentialUse]:
        """What was counted since the last time."""
        counts, self._counts = self._counts, {}
        return [CredentialUse(principal, kind, count, now) for (principal, kind), count in counts.items()]


class CredentialReports:
    """Tells auth, again and again."""

    def __init__(self, counts: CredentialCounts, tell: Tell, edge: str, clock: Clock) -> None:
        self._counts = counts
        self._tell = tell
        self._edge = edge
        self._clock = clock

    async def run(self) -> None:
        while True:
            await self._clock.sleep(REPORT_SECONDS)
            await self.report()

    async def report(self) -> None:
        """Tell all there is."""
        uses = self._counts.take(int(self._clock.time()))
        for first in range(0, len(uses), _MOST_AT_ONCE):
            said = ReportCredentials(self._edge, tuple(uses[first : first + _MOST_AT_ONCE]))
            try:
                await self._tell(said)
            except InterlockError as error:
                _log.warning("how principals come in was not told", code=error.code)
                return
