"""The stories of upstreams: registered, shown, looked at again, deleted."""

import uuid
from collections.abc import Iterator
from itertools import batched

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import UpstreamFailed
from interlock_common.messages.catalog import (
    CreateUpstream,
    Definition,
    Upstream,
    UpstreamChanged,
    UpstreamList,
    upstream_key,
)
from interlock_common.messages.common import ById, Empty, Page
from interlock_gateway.catalog import naming, paging
from interlock_gateway.catalog.errors import UpstreamNotFound
from interlock_gateway.catalog.outlet import Discover, Outlet
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.store import Due, Store
from interlock_gateway.catalog.visibility import may_see, require, require_owner, settled_team
from interlock_gateway.upstreams.discovery import Discovered

RECORDED_TOOLS = 500
"""How many tools one audit record names: a record has to fit a message of the bus."""
SELF = "svc:catalog"
"""Who acts when nobody asked: the periodic refresh."""


class Upstreams:
    """What can be done with upstreams, each on behalf of an actor."""

    def __init__(
        self, engine: AsyncEngine, outlet: Outlet, publisher: Publisher, discover: Discover, clock: Clock
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self._publisher = publisher
        self._discover = discover
        self._clock = clock

    async def create(self, request: CreateUpstream) -> Upstream:
        """Register an upstream that answers; one that does not is refused with what failed."""
        actor = request.actor
        require(actor, "gateways.create")
        name = naming.checked_name(request.name)
        url = naming.checked_url(request.url)
        slug = naming.slug_of(name)
        description = naming.checked_description(request.description)
        team = settled_team(actor, request.visibility, request.team)
        found = await self._discover(url, request.era)
        upstream = Upstream(
            id=uuid.uuid4().hex, name=name, slug=slug, url=url, era=found.era,
            protocol_version=found.protocol_version, owner=actor.principal, visibility=request.visibility,
            team=team, tools=found.tools, description=description,
        )  # fmt: skip
        async with transaction(self._engine) as session:
            await Store(session).add_upstream(upstream, wanted_era=request.era, at=self._now())
            for digests in _pieces(_digests(found.tools)):
                await self._outlet.record(
                    "upstream.created", actor.principal, upstream.id, name=name, era=found.era, tools=digests
                )
        await self._publisher.publish(upstream_key(upstream.id))
        await self._outlet.changed(UpstreamChanged(upstream.id, "created", len(found.tools)))
        return upstream

    async def get(self, request: ById) -> Upstream:
        async with transaction(self._engine) as session:
            upstream = await Store(session).upstream(request.id)
        if upstream is None or not may_see(request.actor, upstream):
            raise UpstreamNotFound("no such upstream", id=request.id)
        return upstream

    async def list(self, request: Page) -> UpstreamList:
        """A page in the order of ids, without tools."""
        limit = paging.wanted(request.limit)
        async with transaction(self._engine) as session:
            found = await Store(session).upstreams(request.actor, request.cursor, limit + 1)
        return UpstreamList(*paging.cut(found, limit))

    async def delete(self, request: ById) -> Empty:
        upstream = await self.get(request)
        actor = request.actor
        require_owner(actor, upstream, "gateways.delete")
        async with transaction(self._engine) as session:
            await Store(session).remove_upstream(upstream.id)
            await self._outlet.record("upstream.deleted", actor.principal, upstream.id, name=upstream.name)
        await self._publisher.publish(upstream_key(upstream.id))
        await self._outlet.changed(UpstreamChanged(upstream.id, "deleted"))
        return Empty()

    async def refresh(self, request: ById) -> Upstream:
        """Look at an upstream now, because somebody asked; the answer says whether it is reachable."""
        upstream = await self.get(request)
        require_owner(request.actor, upstream, "gateways.update")
        async with transaction(self._engine) as session:
            due = await Store(session).wanted(upstream.id)
        if due is None:
            raise UpstreamNotFound("no such upstream", id=upstream.id)
        await self.look_again(due, request.actor.principal)
        return await self.get(request)

    async def look_again(self, due: Due, actor: str = SELF) -> None:
        """Discover an upstream anew and publish what differs; nobody has to be answered."""
        try:
            found: Discovered | None = await self._discover(due.url, due.wanted_era)
            problem = ""
        except UpstreamFailed as error:
            found, problem = None, error.detail
        async with transaction(self._engine) as session:
            store = Store(session)
            before = await store.upstream(due.id)
            if before is None:
                return
            after = _looked_at(before, found, problem)
            tools_changed = _digests(after.tools) != _digests(before.tools)
            changed = tools_changed or _standing(after) != _standing(before)
            await store.update_upstream(after, at=self._now(), tools_changed=tools_changed)
            if changed:
                for difference in _differences(before, after):
                    await self._outlet.record("upstream.changed", actor, due.id, **difference)
        if changed:
            await self._publisher.publish(upstream_key(due.id))
            await self._outlet.changed(UpstreamChanged(due.id, "refreshed", len(after.tools)))

    def _now(self) -> int:
        return int(self._clock.time() * 1000)


def _looked_at(before: Upstream, found: Discovered | None, problem: str) -> Upstream:
    """The upstream after a look; one that is away keeps its tools, since calls to them fail by themselves."""
    era, version, tools = (
        (before.era, before.protocol_version, before.tools)
        if found is None
        else (found.era, found.protocol_version, found.tools)
    )
    return Upstream(
        id=before.id, name=before.name, slug=before.slug, url=before.url, era=era, protocol_version=version,
        owner=before.owner, visibility=before.visibility, team=before.team, reachable=found is not None,
        problem=problem, tools=tools, description=before.description,
    )  # fmt: skip


def _standing(upstream: Upstream) -> tuple[object, ...]:
    return (upstream.era, upstream.protocol_version, upstream.reachable, upstream.problem)


def _digests(tools: tuple[Definition, ...]) -> dict[str, str | None]:
    return {tool.name: tool.digest for tool in tools}


def _pieces(digests: dict[str, str | None]) -> Iterator[dict[str, str | None]]:
    """The digests in as many pieces as it takes for each to fit a record; at least one, which may be empty."""
    yield from (dict(piece) for piece in batched(digests.items(), RECORDED_TOOLS, strict=False))
    if not digests:
        yield {}


def _differences(before: Upstream, after: Upstream) -> Iterator[dict[str, object]]:
    """What records say of a change: digests of what came or changed, names of what went."""
    old, new = _digests(before.tools), _digests(after.tools)
    touched = {name: new.get(name) for name in old | new if old.get(name) != new.get(name)}
    for piece in _pieces(touched):
        yield {
            "reachable": after.reachable,
            "problem": after.problem,
            "added": {name: digest for name, digest in piece.items() if name not in old},
            "changed": {name: digest for name, digest in piece.items() if name in old and name in new},
            "removed": sorted(name for name in piece if name not in new),
        }
