"""Fakes of what the catalog's stories reach, for tests: one per dependency."""

from dataclasses import dataclass, field

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.errors import Unavailable
from interlock_common.messages.catalog import CatalogItem, Definition, Era, UpstreamChanged
from interlock_common.messages.common import Actor
from interlock_common.testing.clock import ManualClock
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.servers import Servers
from interlock_gateway.catalog.upstreams import Upstreams
from interlock_gateway.upstreams.discovery import Discovered

ADMIN = Actor("admin@example.com", is_admin=True)
MAKER = Actor(
    "maker@example.com",
    teams=("red",),
    permissions=(
        "gateways.create", "gateways.delete", "gateways.update", "servers.create", "servers.delete", "servers.update",
    ),
)  # fmt: skip
STRANGER = Actor("stranger@example.com", teams=("blue",), permissions=("*",))


type Deed = tuple[str, str, str, dict[str, object]]
"""Action, actor, target and detail of an audit record."""


def tool(name: str, definition: bytes | None = None, digest: str = "sha256:1") -> Definition:
    return Definition(name, msgspec.Raw(definition or b'{"name": "%s"}' % name.encode()), digest)


@dataclass
class FakeOutlet:
    """Keeps what would go onto the bus; ``away`` refuses as a lost bus does, ``silent`` loses the audit stream."""

    bucket: dict[str, CatalogItem] = field(default_factory=dict[str, CatalogItem])
    events: list[UpstreamChanged] = field(default_factory=list[UpstreamChanged])
    actions: list[Deed] = field(default_factory=list[Deed])
    away: bool = False
    silent: bool = False

    async def put(self, key: str, item: CatalogItem) -> None:
        self._here()
        self.bucket[key] = item

    async def delete(self, key: str) -> None:
        self._here()
        self.bucket.pop(key, None)

    async def changed(self, event: UpstreamChanged) -> None:
        self._here()
        self.events.append(event)

    async def record(self, action: str, actor: str, target: str, **detail: object) -> None:
        if self.silent:
            raise Unavailable("the audit stream did not take a record")
        self.actions.append((action, actor, target, detail))

    def _here(self) -> None:
        if self.away:
            raise Unavailable("the bus is away")


@dataclass
class FakeUpstreams:
    """What discovery would find, by address; an error there is raised."""

    found: dict[str, Discovered | Exception] = field(default_factory=dict[str, Discovered | Exception])
    asked: list[tuple[str, Era | None]] = field(default_factory=list[tuple[str, Era | None]])

    async def __call__(self, url: str, era: Era | None) -> Discovered:
        self.asked.append((url, era))
        answer = self.found.get(url, Discovered("modern", "2026-07-28", (tool("one"), tool("two"))))
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Parts:
    """The stories of the catalog on a real database and a fake world."""

    engine: AsyncEngine
    outlet: FakeOutlet
    world: FakeUpstreams
    clock: ManualClock
    publisher: Publisher
    upstreams: Upstreams
    servers: Servers


def wire(engine: AsyncEngine) -> Parts:
    """The stories on ``engine``, everything else faked."""
    outlet, world, clock = FakeOutlet(), FakeUpstreams(), ManualClock()
    publisher = Publisher(engine, outlet)
    upstreams = Upstreams(engine, outlet, publisher, world, clock)
    return Parts(engine, outlet, world, clock, publisher, upstreams, Servers(engine, outlet, publisher))
