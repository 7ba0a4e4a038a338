"""Fakes of what the catalog's stories reach, for tests: one per dependency."""

import dataclasses
from dataclasses import dataclass, field

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.errors import Unavailable
from interlock_common.messages.catalog import CatalogItem, Definition, DefinitionKind, Era, Upstream, UpstreamChanged
from interlock_common.messages.common import Actor
from interlock_common.messages.grants import Grant
from interlock_common.sealing import Sealer
from interlock_common.testing.clock import ManualClock
from interlock_gateway.catalog.grants import Grants
from interlock_gateway.catalog.keeping import Keeper
from interlock_gateway.catalog.looking import Looking, Pace
from interlock_gateway.catalog.pinning import Policy
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.registering import Registering
from interlock_gateway.catalog.servers import Servers
from interlock_gateway.catalog.upstreams import Upstreams
from interlock_gateway.upstreams.discovery.discovery import EVERYTHING, Discovered

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
    grants: dict[str, Grant] = field(default_factory=dict[str, Grant])
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

    async def show_grant(self, key: str, grant: Grant) -> None:
        self._here()
        self.grants[key] = grant

    async def hide_grant(self, key: str) -> None:
        self._here()
        self.grants.pop(key, None)

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
    """What discovery would find, by address (of what has none, by name); an error there is raised."""

    found: dict[str, Discovered | Exception] = field(default_factory=dict[str, Discovered | Exception])
    asked: list[tuple[str, Era | None]] = field(default_factory=list[tuple[str, Era | None]])
    kinds: list[frozenset[DefinitionKind]] = field(default_factory=list[frozenset[DefinitionKind]])

    async def __call__(self, upstream: Upstream, kinds: frozenset[DefinitionKind] = EVERYTHING) -> Discovered:
        place = upstream.url or upstream.name
        self.asked.append((place, upstream.wanted_era))
        self.kinds.append(kinds)
        answer = self.found.get(place, Discovered("modern", "2026-07-28", (tool("one"), tool("two"))))
        if isinstance(answer, Exception):
            raise answer
        return dataclasses.replace(answer, asked=kinds)


@dataclass
class Parts:
    """The stories of the catalog on a real database and a fake world."""

    engine: AsyncEngine
    outlet: FakeOutlet
    world: FakeUpstreams
    clock: ManualClock
    publisher: Publisher
    looking: Looking
    upstreams: Upstreams
    servers: Servers
    grants: Grants


def wire(engine: AsyncEngine, *, policy: Policy | None = None, secret: bytes | None = b"a secret of tests") -> Parts:
    """The stories on ``engine``, everything else faked."""
    outlet, world, clock = FakeOutlet(), FakeUpstreams(), ManualClock()
    publisher = Publisher(engine, outlet)
    looking = Looking(engine, outlet, publisher, world, clock, policy or Policy(), Pace(60))
    keeper = Keeper(None if secret is None else Sealer(secret))
    registering = Registering(engine, outlet, publisher, looking, keeper, clock, patience=0)
    grants = Grants(engine, outlet, clock)
    upstreams = Upstreams(engine, outlet, publisher, registering, grants)
    servers = Servers(engine, outlet, publisher)
    return Parts(engine, outlet, world, clock, publisher, looking, upstreams, servers, grants)
