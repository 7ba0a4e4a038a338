"""The bucket shows what the database holds: the one is the mirror of the other, whatever fails in between."""

from collections.abc import Iterable

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import transaction
from interlock_common.errors import Unavailable
from interlock_common.messages.catalog import CatalogItem, server_key, upstream_key
from interlock_gateway.catalog.outlet import Outlet
from interlock_gateway.catalog.server_store import ServerStore
from interlock_gateway.catalog.store import Store

_log = structlog.get_logger()


class Publisher:
    """Brings keys of the bucket to what the database says of them.

    ``owed`` are the keys whose last writing failed; ``settle`` tries them again.
    """

    def __init__(self, engine: AsyncEngine, outlet: Outlet) -> None:
        self._engine = engine
        self._outlet = outlet
        self.owed: set[str] = set()

    async def publish(self, key: str) -> None:
        """Write or remove one key; raises Unavailable when the bus is away, and then still owes it."""
        self.owed.add(key)
        item = await self._stored(key)
        if item is not None:
            await self._outlet.put(key, item)
            # Deleted while it was being written: whoever deleted may have removed the key before we wrote it.
            item = await self._stored(key)
        if item is None:
            await self._outlet.delete(key)
        self.owed.discard(key)

    async def settle(self) -> None:
        """Try again what is owed; what fails stays owed."""
        for key in sorted(self.owed):
            try:
                await self.publish(key)
            except Unavailable as error:
                _log.warning("the bucket is behind the database", key=key, reason=error.detail)
                return

    async def reconcile(self, published: Iterable[str]) -> None:
        """Bring the whole bucket, of which ``published`` are the present keys, to what the database holds."""
        async with transaction(self._engine) as session:
            wanted = {upstream_key(upstream_id) for upstream_id in await Store(session).upstream_ids()}
            wanted |= {server_key(server_id) for server_id in await ServerStore(session).ids()}
        for key in sorted(wanted | set(published)):
            await self.publish(key)

    async def _stored(self, key: str) -> CatalogItem | None:
        kind, _, identifier = key.partition(".")
        async with transaction(self._engine) as session:
            if kind == "upstream":
                return await Store(session).upstream(identifier)
            return await ServerStore(session).get(identifier)
