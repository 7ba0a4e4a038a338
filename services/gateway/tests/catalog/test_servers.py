from typing import Any

import pytest

from interlock_common.errors import InvalidInput, NotFound, PermissionDenied
from interlock_common.messages.catalog import CreateServer, CreateUpstream, Upstream, server_key
from interlock_common.messages.common import Actor, ById, Page
from interlock_gateway.catalog.errors import NameTaken, UnknownReference
from interlock_gateway.catalog.testing import ADMIN, MAKER, STRANGER, Parts


async def upstream(parts: Parts, **changes: Any) -> Upstream:
    given: dict[str, Any] = {"actor": MAKER, "name": "notes", "url": "https://notes.example.com/mcp"}
    return await parts.upstreams.create(CreateUpstream(**(given | changes)))


async def test_a_virtual_server_is_stored_published_and_recorded(parts: Parts) -> None:
    source = await upstream(parts)
    made = await parts.servers.create(
        CreateServer(MAKER, "desk", id="desk", tools=(f"{source.id}/one", f"{source.id}/one"), prefix="always")
    )
    assert made.tools == (f"{source.id}/one",)
    assert await parts.servers.get(ById(STRANGER, "desk")) == made == parts.outlet.bucket[server_key("desk")]
    assert parts.outlet.actions[-1][:3] == ("server.created", MAKER.principal, "desk")


async def test_a_reference_leads_to_what_its_maker_sees(parts: Parts) -> None:
    hidden = await upstream(parts, visibility="private")
    for tools, upstreams in (
        ((f"{hidden.id}/one",), ()),
        ((), (hidden.id,)),
        (("nowhere/one",), ()),
        (("one",), ()),
    ):
        with pytest.raises(UnknownReference):
            await parts.servers.create(CreateServer(STRANGER, "desk", tools=tools, upstreams=upstreams))
    with pytest.raises(UnknownReference, match="no such tool"):
        await parts.servers.create(CreateServer(MAKER, "desk", tools=(f"{hidden.id}/three",)))
    assert (await parts.servers.list(Page(ADMIN))).servers == ()


@pytest.mark.parametrize("server_id", ["", "a/b", "a.b", "a b", "x" * 65, "*"])
async def test_an_id_that_is_no_key_is_refused(parts: Parts, server_id: str) -> None:
    with pytest.raises(InvalidInput):
        await parts.servers.create(CreateServer(MAKER, "desk", id=server_id))


async def test_a_name_or_id_in_use_is_a_conflict(parts: Parts) -> None:
    await parts.servers.create(CreateServer(MAKER, "desk", id="desk"))
    for request in (CreateServer(MAKER, "desk"), CreateServer(MAKER, "other", id="desk")):
        with pytest.raises(NameTaken):
            await parts.servers.create(request)


async def test_only_its_owner_or_an_administrator_deletes_a_server(parts: Parts) -> None:
    await parts.servers.create(CreateServer(MAKER, "desk", id="desk", visibility="team", team="red"))
    with pytest.raises(NotFound):
        await parts.servers.delete(ById(STRANGER, "desk"))
    mate = Actor("mate@example.com", teams=("red",), permissions=("*",))
    with pytest.raises(PermissionDenied):
        await parts.servers.delete(ById(mate, "desk"))
    await parts.servers.delete(ById(ADMIN, "desk"))
    assert parts.outlet.bucket == {}


async def test_creating_needs_the_permission(parts: Parts) -> None:
    with pytest.raises(PermissionDenied, match=r"servers\.create"):
        await parts.servers.create(CreateServer(Actor("reader@example.com"), "desk"))


async def test_a_list_shows_what_the_actor_sees(parts: Parts) -> None:
    await parts.servers.create(CreateServer(MAKER, "all", id="all"))
    await parts.servers.create(CreateServer(MAKER, "mine", id="mine", visibility="private"))
    assert [s.id for s in (await parts.servers.list(Page(STRANGER))).servers] == ["all"]
    assert [s.id for s in (await parts.servers.list(Page(MAKER))).servers] == ["all", "mine"]


async def test_a_page_ends_before_it_would_not_fit_the_bus(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        await parts.servers.create(CreateServer(MAKER, f"s{number}", id=f"s{number}", description="x" * 100))
    monkeypatch.setattr("interlock_gateway.catalog.paging.MAX_PAGE_BYTES", 500)
    first = await parts.servers.list(Page(ADMIN))
    assert 0 < len(first.servers) < 5
    rest = await parts.servers.list(Page(ADMIN, first.next_cursor, limit=1))
    assert rest.servers[0].id == f"s{len(first.servers)}"
