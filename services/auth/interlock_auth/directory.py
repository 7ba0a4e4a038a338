"""Who exists, as every edge knows it: the bucket ``principals`` follows the database."""

from collections.abc import Iterable

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.identity_store import IdentityStore
from interlock_auth.outlet import Outlet
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_common.database import transaction
from interlock_common.messages.auth import principal_key
from interlock_common.messages.resources import PRINCIPALS

_log = structlog.get_logger(__name__)


class Directory:
    """Publishes principals. A change that the bus does not take is durable, and published by housekeeping."""

    def __init__(self, engine: AsyncEngine, outlet: Outlet) -> None:
        self._engine = engine
        self._outlet = outlet

    async def publish(self, names: Iterable[str]) -> None:
        """Publish principals as they are now; raises Unavailable when the bus does not take one."""
        for name in names:
            while not await self._publish(name):  # it changed meanwhile, and the older word must not be the last
                pass

    async def publish_missed(self) -> None:
        """What the bus did not take when it changed."""
        async with transaction(self._engine) as session:
            missed = await IdentityStore(session).unpublished()
        if missed:
            await self.publish(missed)
            _log.warning("principals published late", count=len(missed))

    async def publish_all(self) -> None:
        """Put every principal into the bucket, as after its loss."""
        async with transaction(self._engine) as session:
            rows = await Store(session).principals()
        for row in rows:
            await self._outlet.put(PRINCIPALS, principal_key(row.name), principal_of(row))
        async with transaction(self._engine) as session:
            versions = await IdentityStore(session).versions()
        await self.publish(row.name for row in rows if versions.get(row.name) != row.published_version)

    async def _publish(self, name: str) -> bool:
        async with transaction(self._engine) as session:
            row = await Store(session).principal(name)
        if row is None:
            return True
        await self._outlet.put(PRINCIPALS, principal_key(name), principal_of(row))
        async with transaction(self._engine) as session:
            return await IdentityStore(session).mark_published(name, row.version)
