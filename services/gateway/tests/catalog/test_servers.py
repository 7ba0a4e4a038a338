from typing import Any

import pytest

from interlock_common.errors import InvalidInput, NotFound, PermissionDenied
from interlock_common.messages.catalog import CreateServer, CreateUpstream, UpdateServer, Upstream, server_key
from interlock_common.messages.common import Actor, ById, Page
from interlock_gateway.catalog.errors import InvalidComposition, NamesCollide, NameTaken, UnknownReference
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


async def test_a_permission_of_a_team_counts_for_what_belongs_to_it(parts: Parts) -> None:
    held = {"red": ("servers.create", "servers.update", "servers.delete")}
    maker = Actor("maker@example.com", teams=("red", "blue"), team_permissions=held)
    for elsewhere in (
        CreateServer(maker, "desk"),
        CreateServer(maker, "desk", visibility="team", team="blue"),
        CreateServer(maker, "desk", visibility="private", team="red"),
    ):
        with pytest.raises(PermissionDenied, match=r"servers\.create"):
            await parts.servers.create(elsewhere)
    await parts.servers.create(CreateServer(maker, "desk", id="desk", visibility="team", team="red"))
    with pytest.raises(PermissionDenied, match=r"servers\.update"):  # out of the team would be for everybody
        await parts.servers.update(UpdateServer("desk", CreateServer(maker, "desk")))
    await parts.servers.update(UpdateServer("desk", CreateServer(maker, "table", visibility="team", team="red")))
    await parts.servers.delete(ById(maker, "desk"))


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


async def test_a_server_keeps_all_that_it_is_composed_of(parts: Parts) -> None:
    source = await upstream(parts)
    request = CreateServer(
        MAKER, "desk", id="desk", tools=(f"{source.id}/one",), prefix="custom", aliases={f"{source.id}/one": "first"},
        description="d", instructions="ask first", resource="https://desk.example.com/mcp", api_key_only=True,
    )  # fmt: skip
    made = await parts.servers.create(request)
    assert made.aliases == {f"{source.id}/one": "first"}
    assert (made.instructions, made.resource, made.api_key_only) == (
        "ask first", "https://desk.example.com/mcp", True,
    )  # fmt: skip
    assert await parts.servers.get(ById(MAKER, "desk")) == made == parts.outlet.bucket[server_key("desk")]


async def test_with_no_prefix_two_things_of_one_name_are_refused_naming_both(parts: Parts) -> None:
    one, other = await upstream(parts), await upstream(parts, name="other", url="https://other.example.com/mcp")
    both = (one.id, other.id)
    with pytest.raises(NamesCollide) as refusal:
        await parts.servers.create(CreateServer(MAKER, "desk", upstreams=both))
    assert refusal.value.fields["references"] == [f"{one.id}/one", f"{other.id}/one"]
    with pytest.raises(NamesCollide):
        await parts.servers.create(CreateServer(MAKER, "desk", upstreams=(one.id,), tools=(f"{other.id}/two",)))
    for name, prefix in (("collision", "collision"), ("always", "always")):
        await parts.servers.create(CreateServer(MAKER, name, upstreams=both, prefix=prefix))  # pyright: ignore[reportArgumentType] - a Naming
    aliases = {f"{other.id}/one": "other.one", f"{other.id}/two": "other.two"}
    await parts.servers.create(CreateServer(MAKER, "named", upstreams=both, prefix="custom", aliases=aliases))


async def test_an_alias_takes_over_no_name(parts: Parts) -> None:
    source = await upstream(parts)
    with pytest.raises(NamesCollide, match="one"):
        await parts.servers.create(
            CreateServer(MAKER, "desk", upstreams=(source.id,), prefix="custom", aliases={f"{source.id}/two": "one"})
        )


@pytest.mark.parametrize(
    ("aliases", "prefix"),
    [
        ({"one": "a b"}, "custom"),
        ({"one": ""}, "custom"),
        ({"one": "x" * 129}, "custom"),
        ({"three": "x"}, "custom"),
        ({"two": "x"}, "custom"),
        ({"one": "x"}, "none"),
    ],
)
async def test_an_alias_is_a_name_for_something_of_the_server(
    parts: Parts, aliases: dict[str, str], prefix: Any
) -> None:
    source = await upstream(parts)
    references = {f"{source.id}/{name}": alias for name, alias in aliases.items()}
    with pytest.raises(InvalidComposition):
        await parts.servers.create(
            CreateServer(MAKER, "desk", tools=(f"{source.id}/one",), prefix=prefix, aliases=references)
        )


async def test_two_things_have_no_alias_in_common(parts: Parts) -> None:
    source = await upstream(parts)
    aliases = {f"{source.id}/one": "x", f"{source.id}/two": "x"}
    with pytest.raises(NamesCollide):
        await parts.servers.create(
            CreateServer(MAKER, "desk", upstreams=(source.id,), prefix="custom", aliases=aliases)
        )


@pytest.mark.parametrize(
    "resource",
    [
        "desk", "http://desk.example.com", "https://", "https://a@b/mcp", "https://a/#x", "https://a:99999/",
        "https://a/ b", "https://a/\n",
    ],
)  # fmt: skip
async def test_a_resource_identifier_is_an_absolute_https_url(parts: Parts, resource: str) -> None:
    with pytest.raises(InvalidComposition, match="https"):
        await parts.servers.create(CreateServer(MAKER, "desk", resource=resource))


async def test_a_resource_identifier_is_one_server_s(parts: Parts) -> None:
    resource = "https://desk.example.com/mcp"
    await parts.servers.create(CreateServer(MAKER, "desk", id="desk", resource=resource))
    with pytest.raises(NameTaken):
        await parts.servers.create(CreateServer(MAKER, "other", resource=resource))
    update = UpdateServer("desk", CreateServer(MAKER, "desk", resource=resource, description="new"))
    assert (await parts.servers.update(update)).description == "new"


async def test_an_update_replaces_everything_but_id_and_owner(parts: Parts) -> None:
    source = await upstream(parts)
    await parts.servers.create(CreateServer(MAKER, "desk", id="desk", tools=(f"{source.id}/one",), description="old"))
    made = await parts.servers.update(UpdateServer("desk", CreateServer(ADMIN, "table", upstreams=(source.id,))))
    assert (made.id, made.owner, made.name, made.tools, made.description) == (
        "desk", MAKER.principal, "table", (), "",
    )  # fmt: skip
    assert await parts.servers.get(ById(MAKER, "desk")) == made == parts.outlet.bucket[server_key("desk")]
    assert parts.outlet.actions[-1][:3] == ("server.changed", ADMIN.principal, "desk")


async def test_an_update_that_changes_nothing_is_not_recorded(parts: Parts) -> None:
    request = CreateServer(MAKER, "desk", id="desk")
    made = await parts.servers.create(request)
    recorded = len(parts.outlet.actions)
    assert await parts.servers.update(UpdateServer("desk", request)) == made
    assert len(parts.outlet.actions) == recorded


async def test_only_its_owner_or_an_administrator_changes_a_server(parts: Parts) -> None:
    await parts.servers.create(CreateServer(MAKER, "desk", id="desk"))
    await parts.servers.create(CreateServer(MAKER, "mine", id="mine", visibility="private"))
    with pytest.raises(PermissionDenied):
        await parts.servers.update(UpdateServer("desk", CreateServer(STRANGER, "desk")))
    with pytest.raises(NotFound):
        await parts.servers.update(UpdateServer("mine", CreateServer(STRANGER, "mine")))
    with pytest.raises(NameTaken):
        await parts.servers.update(UpdateServer("mine", CreateServer(MAKER, "desk")))
    with pytest.raises(InvalidComposition):
        await parts.servers.update(UpdateServer("mine", CreateServer(MAKER, "mine", id="desk")))


async def test_a_credential_without_teams_reaches_public_objects_only(parts: Parts) -> None:
    await parts.servers.create(CreateServer(MAKER, "all", id="all"))
    await parts.servers.create(CreateServer(MAKER, "mine", id="mine", visibility="private"))
    bare = Actor(MAKER.principal, permissions=MAKER.permissions)
    assert [s.id for s in (await parts.servers.list(Page(bare))).servers] == ["all"]
    with pytest.raises(NotFound):
        await parts.servers.get(ById(bare, "mine"))
