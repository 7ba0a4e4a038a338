"""How often tokens are used: counted here, told to auth every two seconds, which tells how often at all edges.

An edge by itself never lets in more than a limit. Several together let in at most what the others let in since they
told: two seconds' worth, or milliseconds' of an edge that used the token longer ago, as that one tells at once. While
auth is away, and for tokens that auth does not know, as those signed elsewhere with a shared secret, each edge counts
for itself. A report whose answer is lost is told again: a limit errs on the strict side.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, Unavailable
from interlock_common.messages.auth import UsageLimits
from interlock_common.messages.token_usage import ReportUses, TokenStanding, TokenUse, UsesCounted
from interlock_gateway.errors import ScopeUsage, ScopeUsedUp

HOUR, DAY = 3600, 86400
REPORT_SECONDS = 2.0
_MOST_TOKENS = 100_000
_MOST_STANDINGS = 10_000
_MOST_IN_REPORT = 1000
_log = structlog.get_logger()


class Uses:
    """What was used at this edge and is not counted by auth yet, and how tokens with limits stood when it was."""

    def __init__(self) -> None:
        self._uncounted: dict[str, int] = {}
        self._sending: dict[str, int] = {}
        self._standings: OrderedDict[str, tuple[TokenStanding, float]] = OrderedDict()
        self.wanted = asyncio.Event()
        """Set when auth should be told at once."""

    def count(self, token_id: str) -> None:
        """One request more; beyond 100,000 tokens within a report's time they are let through uncounted."""
        used = self._uncounted.get(token_id)
        if used is not None:
            self._uncounted[token_id] = used + 1
        elif len(self._uncounted) < _MOST_TOKENS:
            self._uncounted[token_id] = 1

    def check(self, token_id: str, limits: UsageLimits, now: float) -> None:
        """Raise ScopeUsage or ScopeUsedUp where one request more would be too many."""
        if token_id not in self._uncounted and len(self._uncounted) >= _MOST_TOKENS:
            raise Unavailable("requests with limited tokens cannot be counted at the moment")
        standing, told_at = self._standings.get(token_id) or self._remember(TokenStanding(token_id, 0, 0, 0, 0, 0), 0.0)
        if now - told_at > REPORT_SECONDS:
            self.wanted.set()
        here = self._uncounted.get(token_id, 0) + self._sending.get(token_id, 0)
        total = here + standing.total
        in_hour = here + (standing.in_hour if standing.hour == now // HOUR else 0)
        in_day = here + (standing.in_day if standing.day == now // DAY else 0)
        if limits.requests_total is not None and total >= limits.requests_total:
            raise ScopeUsedUp("the token was good for a number of requests, and they are used up")
        for period, used, most in ((HOUR, in_hour, limits.requests_per_hour), (DAY, in_day, limits.requests_per_day)):
            if most is not None and used >= most:
                said = "hour" if period == HOUR else "day"
                raise ScopeUsage(
                    f"the token is good for {most} requests in each {said}", retry_after=int(period - now % period) + 1
                )

    @property
    def batches(self) -> int:
        """In how many reports all there is can be told."""
        return -(-len(self._uncounted) // _MOST_IN_REPORT)

    def batch(self, edge: str, now: float) -> ReportUses | None:
        """What is to be told next; ``counted`` or ``put_back`` says what became of it."""
        if not self._uncounted:
            return None
        taken = list(self._uncounted)[:_MOST_IN_REPORT]
        self._sending = {token_id: self._uncounted.pop(token_id) for token_id in taken}
        return ReportUses(edge, tuple(TokenUse(token_id, n, int(now)) for token_id, n in self._sending.items()))

    def counted(self, answer: UsesCounted, now: float) -> None:
        """Auth has counted what was sent, but for what it does not know."""
        sent, self._sending = self._sending, {}
        for standing in answer.standings:
            self._remember(standing, now)
            sent.pop(standing.id, None)
        for token_id, used in sent.items():
            if token_id in self._standings:
                self._remember(_used(self._standings[token_id][0], used, now), now)

    def put_back(self) -> None:
        """Auth may not have counted what was sent."""
        for token_id, used in self._sending.items():
            self._uncounted[token_id] = self._uncounted.get(token_id, 0) + used
        self._sending = {}

    def _remember(self, standing: TokenStanding, told_at: float) -> tuple[TokenStanding, float]:
        known = self._standings[standing.id] = standing, told_at
        self._standings.move_to_end(standing.id)
        if len(self._standings) > _MOST_STANDINGS:
            self._standings.popitem(last=False)
        return known


def _used(before: TokenStanding, more: int, now: float) -> TokenStanding:
    """How a token stands that was used ``more`` times here."""
    hour, day = int(now // HOUR), int(now // DAY)
    in_hour = more + (before.in_hour if before.hour == hour else 0)
    in_day = more + (before.in_day if before.day == day else 0)
    return TokenStanding(before.id, hour, in_hour, day, in_day, before.total + more)


class UsageReports:
    """Tells auth, again and again."""

    def __init__(
        self, uses: Uses, tell: Callable[[ReportUses], Awaitable[UsesCounted]], edge: str, clock: Clock
    ) -> None:
        self._uses = uses
        self._tell = tell
        self._edge = edge
        self._clock = clock

    async def run(self) -> None:
        """Report every two seconds, and whenever it is wanted, for ever."""
        while True:
            try:
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._uses.wanted.wait()
            except TimeoutError:
                pass
            self._uses.wanted.clear()
            if not await self.report():
                await self._clock.sleep(REPORT_SECONDS)

    async def report(self) -> bool:
        """Tell all there is at this moment; whether auth took it. What is used meanwhile has time until the next."""
        for _ in range(self._uses.batches):
            if (batch := self._uses.batch(self._edge, self._clock.time())) is None:
                break
            try:
                answer = await self._tell(batch)
            except InterlockError as error:
                self._uses.put_back()
                _log.warning("the use of tokens will be told later", code=error.code)
                return False
            except BaseException:
                self._uses.put_back()
                raise
            self._uses.counted(answer, self._clock.time())
        return True
