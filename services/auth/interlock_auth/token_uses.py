"""How tokens are used: counted as the edges tell it, and shown to whoever the tokens belong to."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.asking import asker
from interlock_auth.errors import ReportRefused
from interlock_auth.models import TokenRow
from interlock_auth.owned_tokens import owned
from interlock_auth.token_store import DAY, HOUR, TokenStore
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Scopes
from interlock_common.messages.common import ById
from interlock_common.messages.token_usage import (
    DayOfUse,
    ReportUses,
    TokenStanding,
    TokenUsage,
    UsesCounted,
)

DAYS_KEPT = 90
_MOST_IN_REPORT = 1000
_MOST_REQUESTS = 2**40


class TokenUses:
    """Counts, and answers how a token stands."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def report(self, request: ReportUses) -> UsesCounted:
        """Count what an edge says it let in; what it says of tokens that are not ours is passed over."""
        if len(request.uses) > _MOST_IN_REPORT:
            raise ReportRefused(f"a report is of {_MOST_IN_REPORT} tokens at most")
        if any(not 0 < use.count <= _MOST_REQUESTS for use in request.uses):
            raise ReportRefused("a token was used at least once")
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            # A clock of an edge that runs ahead must not open the next hour before it has come.
            limited = await TokenStore(session).count_uses(
                msgspec.structs.replace(use, last_at=min(use.last_at, now)) for use in request.uses
            )
        return UsesCounted(await self._standings(limited) if limited else ())

    async def usage(self, request: ById) -> TokenUsage:
        """The use of one's own token, or of any for an administrator: the last 90 days."""
        async with transaction(self._engine) as session:
            store = TokenStore(session)
            row = await owned(store, await asker(store, request.actor), request.id, "tokens.read")
            days = await store.days_of_use(row.id, DAYS_KEPT)
        hour = int(self._clock.time()) // HOUR
        in_hour = row.used_in_hour if row.used_hour == hour else 0
        return TokenUsage(
            row.id,
            row.last_used_at,
            row.used_total,
            in_hour,
            tuple(DayOfUse(_date(each.day), each.count) for each in days),
        )

    async def prune(self) -> None:
        async with transaction(self._engine) as session:
            await TokenStore(session).prune_uses(int(self._clock.time()) // DAY - DAYS_KEPT)

    async def _standings(self, ids: Sequence[str]) -> tuple[TokenStanding, ...]:
        async with transaction(self._engine) as session:
            store = TokenStore(session)
            rows = await store.tokens(ids)
            limited = [row for row in rows if msgspec.json.decode(row.scopes, type=Scopes).usage_limits is not None]
            return tuple([await self._standing(store, row) for row in limited])

    async def _standing(self, store: TokenStore, row: TokenRow) -> TokenStanding:
        day = row.last_used_at // DAY
        in_day = await store.used_on(row.id, day)
        return TokenStanding(row.id, row.used_hour, row.used_in_hour, day, in_day, row.used_total)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()
