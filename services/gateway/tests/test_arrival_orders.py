"""Names do not depend on what an edge learnt first, so that every edge has the same: for everything and for servers."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.messages.catalog import CatalogItem, Definition, Naming, Upstream, VirtualServer
from interlock_gateway.routing import Catalog
from interlock_gateway.testing.callers import ROOT
from interlock_gateway.testing.servers import upstream_at

SLUGS = ("a", "a-b", "a-b-c", "b")
NAMES = ("b-c", "c", "b", "b-c-a", "c-a-b", "c-a-b-a-b", "d")
NAMINGS: tuple[Naming, ...] = ("none", "collision", "always", "custom")


def upstream(slug: str, names: Sequence[str]) -> Upstream:
    """One whose id is its slug, so that names can be made that collide with suffixes, too."""
    tools = tuple(
        Definition(name, msgspec.Raw(msgspec.json.encode({"name": name})), f"sha256:{name}") for name in names
    )
    return upstream_at(f"http://{slug}/", id=slug, name=slug, slug=slug, tools=tools)


SERVERS = tuple(
    VirtualServer(
        f"s-{naming}", "s", ROOT, upstreams=SLUGS[:3], tools=("b/c", "b/d"), prefix=naming,
        aliases={"a/b": "c", "a-b/d": "c", "b/d": "a-b-c"},
    )
    for naming in NAMINGS
)  # fmt: skip
_UPSTREAMS = st.sampled_from(SLUGS).flatmap(
    lambda slug: st.lists(st.sampled_from(NAMES), unique=True, max_size=4).map(lambda names: upstream(slug, names))
)
_PRESENT = st.lists(_UPSTREAMS, unique_by=lambda upstream: upstream.slug)


def change(catalog: Catalog, item: CatalogItem) -> None:
    catalog.change(f"{'upstream' if isinstance(item, Upstream) else 'server'}.{item.id}", item)


def called(catalog: Catalog, server_id: str | None) -> dict[str, str]:
    """Whose tool each public name leads to, in the order in which they are listed."""
    routes = [route for _, block in catalog.offer(server_id).upstreams() for route in block.routes["tool"]]
    found = {route.public_name: f"{route.upstream.id}/{route.definition.name}" for route in routes}
    assert len(found) == len(routes)
    assert found.keys() == catalog.offer(server_id).routes["tool"].keys()
    for route in routes:
        assert msgspec.json.decode(route.public)["name"] == route.public_name
    return found


@given(present=_PRESENT, before=st.lists(_UPSTREAMS, max_size=4), data=st.data())
def test_names_are_the_same_in_whatever_order_and_over_whatever_detours(
    present: list[Upstream], before: list[Upstream], data: Any
) -> None:
    straight, winding = Catalog(), Catalog()
    for item in (*SERVERS, *present):
        change(straight, item)
    for item in data.draw(st.permutations([*SERVERS, *before])):
        change(winding, item)
        for server in data.draw(st.lists(st.sampled_from(sorted(winding.servers) or [None]), max_size=2)):
            winding.offer(server)  # one that was asked for is kept, and changes with what it is made of
    for each in data.draw(st.permutations(present)):
        change(winding, each)
    for gone in data.draw(st.permutations(sorted({each.id for each in before} - {each.id for each in present}))):
        winding.change(f"upstream.{gone}", None)
    for server_id in (None, *(server.id for server in SERVERS)):
        assert list(called(winding, server_id).items()) == list(called(straight, server_id).items())
