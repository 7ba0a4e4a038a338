from typing import Any

import msgspec
import pytest

from interlock_common.errors import NotFound
from interlock_common.messages.auth import Scopes
from interlock_common.messages.catalog import VirtualServer
from interlock_common.sealing import Sealer
from interlock_gateway.caller import Caller
from interlock_gateway.errors import ScopeMissing
from interlock_gateway.listing import Listing
from interlock_gateway.routing import Catalog, offer_for, visible
from interlock_gateway.testing.callers import ADA, ROOT
from interlock_gateway.testing.callers import a_caller as caller
from interlock_gateway.testing.servers import upstream_at


def catalog(*items: Any) -> Catalog:
    catalog = Catalog()
    for item in items:
        kind = "server" if isinstance(item, VirtualServer) else "upstream"
        catalog.change(f"{kind}.{item.id}", item)
    return catalog


NOTES = upstream_at("http://x/", "echo", "add")
OTHER = upstream_at("http://y/", "echo", "sum", id="u2", name="other", slug="other")


def test_the_whole_offer_prefixes_every_tool_in_a_stable_order() -> None:
    expected = ["notes-echo", "notes-add", "other-echo", "other-sum"]
    for offers in (catalog(NOTES, OTHER), catalog(OTHER, NOTES)):
        assert [tool["name"] for tool in tools(offers, modern=True)["tools"]] == expected
        assert set(offers.offer(None).routes["tool"]) == set(expected)


def test_an_upstream_that_changes_costs_a_server_with_prefixes_its_own_part_only() -> None:
    offers = catalog(NOTES, OTHER, VirtualServer("s1", "s", ROOT, upstreams=("u1", "u2"), prefix="always"))
    before = offers.offer("s1")
    kept = before.routes["tool"]["notes-echo"]
    offers.change("upstream.u2", upstream_at("http://y/", "sum", id="u2", name="other", slug="other"))
    assert offers.offer("s1") is before
    assert list(before.routes["tool"]) == ["notes-echo", "notes-add", "other-sum"]
    assert before.routes["tool"]["notes-echo"] is kept
    offers.change("upstream.u2", None)
    assert list(offers.offer("s1").routes["tool"]) == ["notes-echo", "notes-add"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"upstreams": ("u1",)}, ["echo", "add"]),
        ({"tools": ("u2/sum", "u1/add", "u1/none", "u9/x")}, ["add", "sum"]),
        ({"upstreams": ("u1",), "prefix": "always"}, ["notes-echo", "notes-add"]),
        ({"upstreams": ("u2", "u1")}, ["notes-echo", "add", "other-echo", "sum"]),
        ({}, []),
    ],
)
def test_a_virtual_server_offers_what_it_chose(changes: dict[str, Any], names: list[str]) -> None:
    assert list(catalog(NOTES, OTHER, VirtualServer("s1", "s", ROOT, **changes)).offer("s1").routes["tool"]) == names


def test_no_tool_takes_the_name_of_another() -> None:
    tricky = upstream_at("http://z/", "other-echo", id="u3", name="zz", slug="zz")
    server = VirtualServer("s1", "s", ROOT, upstreams=("u1", "u2", "u3"))
    routes = catalog(NOTES, OTHER, tricky, server).offer("s1").routes["tool"]
    assert "other-echo" not in routes
    assert routes["other-echo-u2"].upstream.id == "u2"
    assert routes["other-echo-u3"].upstream.id == "u3"
    assert "echo" not in routes


def test_a_definition_keeps_its_bytes_but_for_the_name() -> None:
    written = b'{"name":"echo","inputSchema":{"x":1.0,"$defs":{"a":{"const":1e2}}},"title":"\\u00e9"}'
    tool = msgspec.structs.replace(NOTES.tools[0], definition=msgspec.Raw(written))
    offers = catalog(msgspec.structs.replace(NOTES, tools=(tool,)), VirtualServer("s1", "s", ROOT, upstreams=("u1",)))
    assert offers.offer("s1").routes["tool"]["echo"].public == written
    prefixed = written.replace(b'"name":"echo"', b'"name":"notes-echo"')
    assert offers.offer(None).routes["tool"]["notes-echo"].public == prefixed


def test_a_change_of_an_upstream_changes_the_offer() -> None:
    offers = catalog(NOTES)
    assert "notes-add" in offers.offer(None).routes["tool"]
    offers.change("upstream.u1", upstream_at("http://x/", "echo", "new"))
    assert list(offers.offer(None).routes["tool"]) == ["notes-echo", "notes-new"]
    offers.change("upstream.u1", None)
    assert not offers.offer(None).routes["tool"]


def test_a_server_with_the_id_of_an_upstream_takes_nothing_along_when_it_goes() -> None:
    offered = catalog(NOTES, VirtualServer(NOTES.id, "s", ADA))
    offered.change(f"server.{NOTES.id}", None)
    assert NOTES.id in offered.upstreams
    with pytest.raises(NotFound):
        offered.offer(NOTES.id)


def test_a_server_that_went_away_is_not_found() -> None:
    offers = catalog(VirtualServer("s1", "s", ROOT))
    offers.offer("s1")
    offers.change("server.s1", None)
    with pytest.raises(NotFound):
        offers.offer("s1")


@pytest.mark.parametrize(
    ("who", "visibility", "team", "seen"),
    [
        (caller(), "public", None, True),
        (caller(), "team", "red", False),
        (caller(teams=frozenset({"red"})), "team", "red", True),
        (caller(teams=frozenset({"red"})), "team", "blue", False),
        (caller(teams=frozenset({"red"})), "team", None, False),
        (caller(teams=frozenset({"red"})), "private", None, False),
        (caller(ROOT), "private", None, False),
        (caller(ROOT, teams=frozenset({"red"})), "private", None, True),
        (caller(is_admin=True, unrestricted=True), "private", None, True),
        (caller(is_admin=True), "private", None, False),
    ],
)
def test_visibility(who: Caller, visibility: Any, team: str | None, *, seen: bool) -> None:
    assert visible(who, visibility, team, ROOT) is seen


def test_a_token_of_one_server_reaches_no_other() -> None:
    offers = catalog(NOTES, VirtualServer("s1", "s", ROOT), VirtualServer("s2", "s", ROOT))
    scoped = caller(scopes=Scopes(server_id="s1"))
    assert offer_for(offers, scoped, "s1").server is not None
    for elsewhere in (None, "s2", "s3"):
        with pytest.raises(ScopeMissing):
            offer_for(offers, scoped, elsewhere)


def test_a_server_one_may_not_see_is_refused_as_one_that_does_not_exist() -> None:
    offers = catalog(VirtualServer("s1", "s", ROOT, visibility="private"))
    with pytest.raises(NotFound) as hidden:
        offer_for(offers, caller(), "s1")
    offers.change("server.s1", None)
    with pytest.raises(NotFound) as missing:
        offer_for(offers, caller(), "s1")
    assert (hidden.value.detail, hidden.value.fields) == (missing.value.detail, missing.value.fields)


def test_a_list_has_only_what_the_caller_may_see() -> None:
    hidden = msgspec.structs.replace(OTHER, visibility="private")
    listed = tools(catalog(NOTES, hidden), modern=True)
    assert [tool["name"] for tool in listed["tools"]] == ["notes-echo", "notes-add"]
    assert (listed["resultType"], listed["cacheScope"]) == ("complete", "private")
    assert set(tools(catalog(NOTES), modern=False)) == {"tools"}


def tools(offers: Catalog, *, modern: bool) -> dict[str, Any]:
    page = Listing(Sealer(b"secret"), 100).page("tools/list", offers.offer(None), caller(), {}, modern=modern)
    return msgspec.json.decode(page)
