"""The catalog's mirror as one actor sees it: nobody else has to be asked for what is only read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from interlock_common.errors import NotFound
from interlock_common.messages.catalog import (
    CatalogItem,
    Definition,
    DefinitionKind,
    Standing,
    Upstream,
    VirtualServer,
    server_key,
    upstream_key,
)
from interlock_common.messages.common import Actor
from interlock_gateway.catalog.visibility import may_see
from interlock_gateway.offers import Offer, Route
from interlock_gateway.rest import paging
from interlock_gateway.rest.dependencies import View
from interlock_gateway.routing import referred


@dataclass(frozen=True)
class Offered:
    """A thing of an upstream."""

    upstream: Upstream
    kind: DefinitionKind
    definition: Definition

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands in a list of everything."""
        return self.upstream.slug, self.kind, self.definition.name


@dataclass(frozen=True)
class Filter:
    """Which things are wanted: of a gateway (its id, slug or name), with a text in their name, of a standing."""

    gateway: str | None = None
    name: str | None = None
    standing: Standing | None = None

    def takes(self, upstream: Upstream) -> bool:
        return self.gateway is None or self.gateway in {upstream.id, upstream.slug, upstream.name}

    def wants(self, upstream: Upstream, definition: Definition) -> bool:
        if self.standing is not None and definition.standing != self.standing:
            return False
        return self.name is None or self.name.lower() in f"{upstream.slug}-{definition.name}".lower()


class Seen:
    """What ``actor`` sees of the mirror at this moment."""

    def __init__(self, actor: Actor, mirror: View[CatalogItem]) -> None:
        self._actor = actor
        self._items = mirror.items

    def upstreams(self) -> list[Upstream]:
        """In the order of their slugs."""
        found = (item for item in self._items.values() if isinstance(item, Upstream) and may_see(self._actor, item))
        return sorted(found, key=lambda upstream: upstream.slug)

    def servers(self) -> list[VirtualServer]:
        """In the order of their names."""
        items = self._items.values()
        found = (item for item in items if isinstance(item, VirtualServer) and may_see(self._actor, item))
        return sorted(found, key=lambda server: server.name)

    def upstream(self, upstream_id: str) -> Upstream | None:
        found = self._items.get(upstream_key(upstream_id))
        return found if isinstance(found, Upstream) and may_see(self._actor, found) else None

    def page(
        self, kinds: Iterable[DefinitionKind], wanted: Filter, cursor: str | None, limit: int
    ) -> tuple[list[Offered], str | None]:
        """A page of things, by upstream and name, and the cursor of the one after it."""
        kinds = tuple(kinds)
        after = paging.decode(cursor, 3)
        page: list[Offered] = []
        for upstream in self.upstreams():
            if not wanted.takes(upstream) or (after is not None and upstream.slug < after[0]):
                continue
            matching = (each for each in _things(upstream, kinds) if wanted.wants(upstream, each.definition))
            for each in sorted(matching, key=lambda each: each.place):
                if after is not None and each.place <= after:
                    continue
                if len(page) == limit:
                    return page, paging.encode(*page[-1].place)
                page.append(each)
        return page, None

    def one(self, kinds: Iterable[DefinitionKind], identifier: str) -> Offered:
        """The thing with the id ``<upstream id>/<original name>``; raises NotFound."""
        upstream_id, _, name = identifier.partition("/")
        upstream = self.upstream(upstream_id)
        if upstream is not None:
            for each in _things(upstream, kinds):
                if each.definition.name == name:
                    return each
        raise NotFound("there is no such thing", id=identifier)

    def offered_by(
        self, server_id: str, kinds: Iterable[DefinitionKind], cursor: str | None, limit: int
    ) -> tuple[list[Route], str | None]:
        """A page of what a virtual server offers, under its public names, and the cursor of the one after it.

        Raises NotFound.
        """
        server = self._items.get(server_key(server_id))
        if not isinstance(server, VirtualServer) or not may_see(self._actor, server):
            raise NotFound("no such virtual server", id=server_id)
        items = (self._items.get(upstream_key(upstream_id)) for upstream_id in referred(server))
        offer = Offer(server, (item for item in items if isinstance(item, Upstream)))
        after = paging.decode(cursor, 3)
        found = [
            (offered(route).place, route)
            for kind in kinds
            for route in offer.routes[kind].values()
            if route.usable and may_see(self._actor, route.upstream)
            and (after is None or offered(route).place > after)
        ]  # fmt: skip
        found.sort(key=lambda each: each[0])
        page = [route for _, route in found[:limit]]
        return page, paging.encode(*found[limit - 1][0]) if len(found) > limit else None

    def without_hidden(self, server: VirtualServer) -> VirtualServer:
        """A server as the actor may know it: without references to gateways that the actor does not see."""
        if self.may_configure(server):
            return server

        def seen(reference: str) -> bool:
            return self.upstream(reference.partition("/")[0]) is not None

        return msgspec.structs.replace(
            server,
            tools=tuple(filter(seen, server.tools)), resources=tuple(filter(seen, server.resources)),
            templates=tuple(filter(seen, server.templates)), prompts=tuple(filter(seen, server.prompts)),
            upstreams=tuple(filter(seen, server.upstreams)),
            aliases={reference: alias for reference, alias in server.aliases.items() if seen(reference)},
        )  # fmt: skip

    def may_configure(self, item: CatalogItem) -> bool:
        """Whether it is the actor's to change."""
        return self._actor.is_admin or (item.owner == self._actor.principal and may_see(self._actor, item))


def offered(route: Route) -> Offered:
    """What is behind a public name."""
    return Offered(route.upstream, route.kind, route.definition)


def _things(upstream: Upstream, kinds: Iterable[DefinitionKind]) -> Iterator[Offered]:
    everything: dict[DefinitionKind, tuple[Definition, ...]] = {
        "tool": upstream.tools, "resource": upstream.resources, "template": upstream.templates,
        "prompt": upstream.prompts,
    }  # fmt: skip
    for kind in kinds:
        for definition in everything[kind]:
            yield Offered(upstream, kind, definition)
