"""The periodic look at every upstream: is it there, and is what it offers what it was."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_gateway.catalog.looking import Looking
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.store import Due, Store

_log = structlog.get_logger()
_TICK_SECONDS = 1.0
_LEASE_SECONDS = 60.0
"""How long a replica that ended in the middle of a look keeps others from it; longer than any look takes."""


class Refreshing:
    """Looks at each upstream when its turn comes, ``concurrency`` at a time in each replica.

    A replica claims an upstream before it looks, so replicas share the work instead of repeating it.
    """

    def __init__(
        self, engine: AsyncEngine, looking: Looking, publisher: Publisher, clock: Clock, *, concurrency: int
    ) -> None:
        self._engine = engine
        self._looking = looking
        self._publisher = publisher
        self._clock = clock
        self._concurrency = concurrency

    async def run(self) -> None:
        """Go on until cancelled; a database or bus that is away costs a round, not the loop."""
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            try:
                await self.round()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("the catalog's database is away", error=type(error).__name__)

    async def round(self) -> int:
        """Look at what is due now; answers how many this replica looked at. One that is slow holds up no other."""
        looked = 0
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                await self._publisher.settle()
                for due in await self._claimed(self._concurrency - len(running)):
                    running.add(asyncio.create_task(self._look(due), name=f"look at {due.id}"))
                if not running:
                    return looked
                done, running = await asyncio.wait(running, timeout=_TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                looked += len(done)
                for task in done:
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _claimed(self, limit: int) -> list[Due]:
        now = self._looking.now()
        async with transaction(self._engine) as session:
            due = await Store(session).due(now, limit)
        claimed: list[Due] = []
        for one in due:  # each in a transaction of its own: replicas that claim many in any order would block another
            async with transaction(self._engine) as session:
                if await Store(session).claim(one, now + int(_LEASE_SECONDS * 1000)):
                    claimed.append(one)
        return claimed

    async def _look(self, due: Due) -> None:
        try:
            await self._looking.look(due.id)
        except InterlockError as error:
            _log.warning("a refresh was not recorded", upstream=due.id, reason=error.detail)
