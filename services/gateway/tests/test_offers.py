"""Names and URIs of an endpoint: how they are made, where they lead, what they cost when something changes."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from interlock_common.messages.catalog import Definition, Naming, Upstream, VirtualServer
from interlock_gateway.offers import PROBLEM_META, Offer
from interlock_gateway.testing.callers import ROOT
from interlock_gateway.testing.servers import upstream_at


def definition(name: str, field: str = "name", **members: Any) -> Definition:
    return Definition(name, msgspec.Raw(msgspec.json.encode({field: name} | members)), f"sha256:{name}")


def upstream(slug: str, **changes: Any) -> Upstream:
    return upstream_at(f"http://{slug}/", id=f"{slug}-id", name=slug, slug=slug, **changes)


def files(slug: str, **changes: Any) -> Upstream:
    said: dict[str, Any] = {
        "tools": (definition("read"),),
        "resources": (definition("file:///a", "uri"), definition("file:///b", "uri")),
        "templates": (definition("file:///{name}.txt", "uriTemplate"),),
        "prompts": (definition("summary"),),
    }
    return upstream(slug, **said | changes)


def server(prefix: Naming = "none", *upstreams: str, **changes: Any) -> VirtualServer:
    return VirtualServer("s1", "s", ROOT, upstreams=tuple(f"{slug}-id" for slug in upstreams), prefix=prefix, **changes)


def names(offer: Offer, kind: Any = "tool") -> list[str]:
    return [route.public_name for _, block in offer.upstreams() for route in block.routes[kind]]


def test_everything_is_prefixed_where_everything_is_offered() -> None:
    offer = Offer(None, [files("notes")])
    assert names(offer) == ["notes-read"]
    assert names(offer, "prompt") == ["notes-summary"]
    assert names(offer, "resource") == ["notes+file:///a", "notes+file:///b"]
    assert names(offer, "template") == ["notes+file:///{name}.txt"]


@pytest.mark.parametrize("prefix", ["none", "collision", "custom"])
def test_where_names_collide_all_of_them_are_prefixed_so_that_nobody_takes_one_over(prefix: Naming) -> None:
    offer = Offer(server(prefix, "aa", "notes"), [files("notes"), files("aa", prompts=(definition("other"),))])
    assert names(offer) == ["aa-read", "notes-read"]
    assert names(offer, "prompt") == ["other", "summary"]
    assert names(offer, "resource")[0] == "aa+file:///a"


def test_a_name_that_one_chose_counts() -> None:
    chosen = server("custom", "notes", aliases={"notes-id/read": "open_file"})
    offer = Offer(chosen, [files("notes")])
    assert names(offer) == ["open_file"]
    assert msgspec.json.decode(offer.routes["tool"]["open_file"].public)["name"] == "open_file"


def test_prefixes_that_make_the_same_name_lose_nothing() -> None:
    offer = Offer(None, [
        upstream("a", tools=(definition("b-c"),)), upstream("a-b", tools=(definition("c"),)),
    ])  # fmt: skip
    assert len(offer.routes["tool"]) == 2
    assert {route.upstream.slug for route in offer.routes["tool"].values()} == {"a", "a-b"}


def test_names_that_are_made_to_collide_lose_nothing_and_go_as_they_came() -> None:
    crafted = tuple(definition(name) for name in ("c-a-b-id", "c", "c-a-b-id-a-b-id"))
    offer = Offer(None, [upstream("a", tools=(definition("b-c"),)), upstream("a-b", tools=crafted)])
    assert len(offer.routes["tool"]) == 4
    assert sorted(names(offer)) == sorted(offer.routes["tool"])
    offer.put(upstream("a-b", tools=crafted[1:]))
    offer.remove("a-b-id")
    assert names(offer) == list(offer.routes["tool"]) == ["a-b-c"]


def called(offer: Offer) -> dict[str, str]:
    """Whose tool each public name leads to."""
    found = {name: f"{route.upstream.id}/{route.definition.name}" for name, route in offer.routes["tool"].items()}
    assert sorted(names(offer)) == sorted(found)
    for name, route in offer.routes["tool"].items():
        assert msgspec.json.decode(route.public)["name"] == name
    return found


TANGLED = (
    upstream("a", tools=(definition("b-c"), definition("b-c-a-id"), definition("alone"))),
    upstream("a-b", tools=tuple(definition(name) for name in ("c", "c-a-b-id", "c-a-b-id-a-b-id"))),
    upstream("a-b-c", tools=(definition("a-b-id"), definition("a-id"), definition("other"))),
)


@pytest.mark.parametrize("order", list(permutations(TANGLED)))
def test_names_are_the_same_whatever_came_first_and_whatever_was_there_before(order: tuple[Upstream, ...]) -> None:
    expected = called(Offer(None, TANGLED))
    assert expected["a-alone"] == "a-id/alone"
    assert len(expected) == 9
    offer = Offer(None, ())
    for each in order:
        offer.put(each)
    assert called(offer) == expected
    for each in order:
        offer.remove(each.id)
        assert called(offer) == called(Offer(None, [other for other in TANGLED if other.id in offer.blocks]))
        offer.put(upstream(each.slug, tools=(definition("x"),)))
        offer.put(each)
        assert called(offer) == expected


def test_nobody_takes_over_a_prefixed_name() -> None:
    offer = Offer(None, [upstream("a", tools=(definition("b-c"),)), upstream("a-b", tools=(definition("c"),))])
    assert called(offer) == {"a-b-c-a-id": "a-id/b-c", "a-b-c-a-b-id": "a-b-id/c"}
    assert all(route.public_name != "a-b-c" for route in offer.routes["tool"].values())


def test_a_name_that_one_chose_gives_way_to_none_that_came_about() -> None:
    chosen = server("custom", "aa", "notes", "zz", aliases={"zz-id/x": "aa-read"})
    offer = Offer(chosen, [files("notes"), files("aa"), upstream("zz", tools=(definition("x"),))])
    assert called(offer) == {"aa-read": "zz-id/x", "aa-read-aa-id": "aa-id/read", "notes-read": "notes-id/read"}


def test_a_server_offers_the_things_it_chose_of_each_kind() -> None:
    chosen = VirtualServer(
        "s1", "s", ROOT, resources=("notes-id/file:///b", "gone/file:///x"), prompts=("notes-id/summary",)
    )
    offer = Offer(chosen, [files("notes")])
    assert (names(offer), names(offer, "resource"), names(offer, "prompt")) == ([], ["file:///b"], ["summary"])


@pytest.mark.parametrize(
    ("uri", "original"),
    [
        ("notes+file:///a", "file:///a"),
        ("notes+file:///x.txt", "file:///x.txt"),
        ("notes+file:///not-listed", "file:///not-listed"),
    ],
)
def test_a_prefixed_uri_leads_to_its_upstream(uri: str, original: str) -> None:
    route = Offer(None, [files("notes"), files("aa")]).resource(uri)
    assert route is not None
    assert (route.upstream.slug, route.original_uri(uri)) == ("notes", original)
    assert route.rename is not None
    assert route.rename("file:///z") == "notes+file:///z"


@pytest.mark.parametrize("uri", ["file:///a", "other+file:///a", "+file:///a", "notes", ""])
def test_another_uri_leads_nowhere(uri: str) -> None:
    assert Offer(None, [files("notes"), files("aa")]).resource(uri) is None


def test_without_prefixes_a_uri_is_what_it_was_and_only_a_server_taken_whole_has_more_than_it_lists() -> None:
    whole = Offer(server("none", "notes"), [files("notes")])
    route = whole.resource("file:///unlisted")
    assert route is not None
    assert (route.original_uri("file:///unlisted"), route.rename) == ("file:///unlisted", None)
    chosen = Offer(VirtualServer("s1", "s", ROOT, resources=("notes-id/file:///a",)), [files("notes")])
    assert chosen.resource("file:///a") is not None
    assert chosen.resource("file:///b") is None


def test_a_slug_that_begins_with_a_figure_still_makes_a_scheme() -> None:
    offer = Offer(None, [files("1st")])
    assert names(offer, "resource")[0] == "x1st+file:///a"
    assert offer.resource("x1st+file:///a") is not None


def test_an_upstream_that_is_away_says_so_in_its_definitions() -> None:
    away = files("notes", reachable=False, problem="refused", tools=(definition("read", _meta={"own": 1}),))
    (tool,) = Offer(server("none", "notes"), [away]).routes["tool"].values()
    assert msgspec.json.decode(tool.public)["_meta"] == {"own": 1, PROBLEM_META: "refused"}


def test_a_changed_upstream_leaves_the_routes_of_others_untouched() -> None:
    offer = Offer(None, [files("notes"), files("aa")])
    kept = offer.routes["tool"]["aa-read"]
    offer.put(files("notes", tools=(definition("write"),)))
    assert names(offer) == ["aa-read", "notes-write"]
    assert offer.routes["tool"]["aa-read"] is kept
    offer.remove("notes-id")
    offer.remove("notes-id")
    assert names(offer) == ["aa-read"]
