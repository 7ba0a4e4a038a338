"""The periodic look at every upstream: is it there, and are its tools what they were."""

import asyncio
import random

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.store import Due, Store
from interlock_gateway.catalog.upstreams import Upstreams

_log = structlog.get_logger()
_JITTER = 0.2
_TICKS = 10  # looks into the database per interval, so that upstreams are spread over it


class Refreshing:
    """Looks at each upstream about every ``interval`` seconds, ``concurrency`` at a time in each replica.

    A replica claims an upstream before it looks, so replicas share the work instead of repeating it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        upstreams: Upstreams,
        publisher: Publisher,
        clock: Clock,
        *,
        interval: float,
        concurrency: int,
    ) -> None:
        self._engine = engine
        self._upstreams = upstreams
        self._publisher = publisher
        self._clock = clock
        self._interval = interval
        self._concurrency = concurrency

    async def run(self) -> None:
        """Go on until cancelled; a database or bus that is away costs a round, not the loop."""
        while True:
            jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
            await self._clock.sleep(self._interval / _TICKS * jitter)
            try:
                await self._publisher.settle()
                await self.round()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("the catalog's database is away", error=type(error).__name__)

    async def round(self) -> int:
        """Look at what is due now; answers how many this replica looked at."""
        before = int((self._clock.time() - self._interval) * 1000)
        looked = 0
        while True:
            async with transaction(self._engine) as session:
                due = await Store(session).due(before, self._concurrency)
            if not due:
                return looked
            looked += sum(await asyncio.gather(*map(self._look, due)))

    async def _look(self, due: Due) -> bool:
        async with transaction(self._engine) as session:
            if not await Store(session).claim(due, int(self._clock.time() * 1000)):
                return False
        try:
            await self._upstreams.look_again(due)
        except InterlockError as error:
            _log.warning("a refresh was not recorded", upstream=due.id, reason=error.detail)
        return True
