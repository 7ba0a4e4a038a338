"""How the stories reach the world: the bucket that edges mirror, the events, the audit record, the upstreams."""

from typing import Protocol

from interlock_common.messages.catalog import CatalogItem, DefinitionKind, Upstream, UpstreamChanged
from interlock_common.messages.grants import Grant
from interlock_gateway.upstreams.discovery.discovery import EVERYTHING, Discovered


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


class GrantOutlet(Protocol):
    """The bus as the stories of grants see it; every method raises Unavailable when the bus is away."""

    async def show_grant(self, key: str, grant: Grant) -> None: ...
    async def hide_grant(self, key: str) -> None: ...
    async def record(self, action: str, actor: str, target: str, **detail: object) -> None: ...


class Discover(Protocol):
    """Finds out what an upstream is and offers; raises UpstreamFailed saying what failed.

    Asked for some ``kinds`` only, it takes the upstream for what it was when it was looked at last.
    """

    async def __call__(self, upstream: Upstream, kinds: frozenset[DefinitionKind] = EVERYTHING) -> Discovered: ...
