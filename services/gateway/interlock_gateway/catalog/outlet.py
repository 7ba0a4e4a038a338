"""How the stories reach the world: the bucket that edges mirror, the events, the audit record, the upstreams."""

from typing import Protocol

from interlock_common.messages.catalog import CatalogItem, Era, UpstreamChanged
from interlock_gateway.upstreams.discovery import Discovered


class Outlet(Protocol):
    """The bus as the stories see it; every method raises Unavailable when the bus is away."""

    async def put(self, key: str, item: CatalogItem) -> None:
        """Show an item to every edge."""
        ...

    async def delete(self, key: str) -> None:
        """Take an item from every edge."""
        ...

    async def changed(self, event: UpstreamChanged) -> None: ...

    async def record(self, action: str, actor: str, target: str, **detail: object) -> None:
        """Return when the record is durable: what is not recorded does not happen."""
        ...


class Discover(Protocol):
    """Finds an upstream's era and tools; raises UpstreamFailed saying what failed."""

    async def __call__(self, url: str, era: Era | None) -> Discovered: ...
