"""The bucket shows what the database holds: the one is the mirror of the other, whatever fails in between."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from weakref import WeakValueDictionary

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import transaction
from interlock_common.errors import Unavailable
from interlock_common.messages.catalog import CatalogItem, server_key, upstream_key
from interlock_gateway.catalog.outlet import Outlet
from interlock_gateway.catalog.server_store import ServerStore
from interlock_gateway.catalog.store import Store

_log = structlog.get_logger()
_BATCH = 100


def digest_of(value: bytes) -> bytes:
    """What is compared to find out whether the bucket holds a value already."""
    return hashlib.sha256(value).digest()


class Publisher:
    """Brings keys of the bucket to what the database says of them.

    ``owed`` are the keys whose last writing failed; ``settle`` tries them again.
    """

    def __init__(self, engine: AsyncEngine, outlet: Outlet) -> None:
        self._engine = engine
        self._outlet = outlet
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._listeners: list[Callable[[], None]] = []
        self.owed: set[str] = set()

    def on_published(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each change of the bucket."""
        self._listeners.append(listener)

    async def publish(self, key: str) -> CatalogItem | None:
        """Write or remove one key; raises Unavailable when the bus is away, and then still owes it.

        Answers what the bucket holds under it now.
        """
        turn = self._turns.setdefault(key, asyncio.Lock())
        try:
            async with turn:
                item = await self._brought(key)
        except BaseException:  # cancelled, too: the database is ahead of the bucket then
            self.owed.add(key)
            raise
        self.owed.discard(key)
        for listener in self._listeners:
            listener()
        return item

    async def _brought(self, key: str) -> CatalogItem | None:
        item = await self._stored(key)
        while item is not None:
            await self._outlet.put(key, item)
            # What changed while it was written may have been published before it, by another replica.
            written, item = item, await self._stored(key)
            if item == written:
                return item
        await self._outlet.delete(key)
        return None

    async def settle(self) -> None:
        """Try again what is owed; what fails stays owed."""
        for key in sorted(self.owed):
            try:
                await self.publish(key)
            except Unavailable as error:
                _log.warning("the bucket is behind the database", key=key, reason=error.detail)
                return

    async def reconcile(self, published: Mapping[str, bytes]) -> int:
        """Bring the whole bucket to what the database holds; answers how many keys that took.

        ``published`` are the present keys with the digests of their values. What is the same already is left alone.
        """
        differing: list[str] = []
        wanted: set[str] = set()
        async for key, item in self._everything():
            wanted.add(key)
            if published.get(key) != digest_of(msgspec.json.encode(item)):
                differing.append(key)
        differing += sorted(published.keys() - wanted)
        for key in differing:
            await self.publish(key)
        return len(differing)

    async def _everything(self) -> AsyncGenerator[tuple[str, CatalogItem]]:
        after = ""
        while True:
            async with transaction(self._engine) as session:
                batch = await Store(session).batch(after, _BATCH)
            for upstream in batch:
                yield upstream_key(upstream.id), upstream
            if len(batch) < _BATCH:
                break
            after = batch[-1].id
        async with transaction(self._engine) as session:
            server_ids = await ServerStore(session).ids()
        for server_id in server_ids:
            item = await self._stored(server_key(server_id))
            if item is not None:
                yield server_key(server_id), item

    async def _stored(self, key: str) -> CatalogItem | None:
        kind, _, identifier = key.partition(".")
        async with transaction(self._engine) as session:
            if kind == "upstream":
                return await Store(session).upstream(identifier)
            return await ServerStore(session).get(identifier)
