import asyncio
from typing import Any, cast

import msgspec
import pytest

from interlock_common.errors import InvalidInput, NotFound, PermissionDenied, Unavailable, UpstreamFailed
from interlock_common.messages.catalog import CreateUpstream, UpdateUpstream, Upstream, Visibility, upstream_key
from interlock_common.messages.common import Actor, ById, Page
from interlock_gateway.catalog.errors import NameTaken
from interlock_gateway.catalog.publishing import digest_of
from interlock_gateway.catalog.refreshing import Refreshing
from interlock_gateway.catalog.testing import ADMIN, MAKER, STRANGER, Parts, tool
from interlock_gateway.catalog.visibility import may_see
from interlock_gateway.upstreams.discovery.discovery import Discovered
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable

URL = "https://notes.example.com/mcp"


def registration(**changes: Any) -> CreateUpstream:
    given: dict[str, Any] = {"actor": MAKER, "name": "Team Notes", "url": URL}
    return CreateUpstream(**(given | changes))


def refreshing(parts: Parts) -> Refreshing:
    return Refreshing(parts.engine, parts.looking, parts.publisher, parts.clock, concurrency=2)


async def test_a_registered_upstream_is_stored_published_recorded_and_told(parts: Parts) -> None:
    odd = b'{ "name":"odd",\n "inputSchema" : {} }'
    parts.world.found[URL] = Discovered("legacy", "2025-11-25", (tool("odd", odd), tool("b")))
    upstream = await parts.upstreams.create(registration(description="all of them"))
    assert (upstream.slug, upstream.era, upstream.owner) == ("team-notes", "legacy", MAKER.principal)
    stored = await parts.upstreams.get(ById(ADMIN, upstream.id))
    assert bytes(stored.tools[0].definition) == odd
    assert [t.name for t in stored.tools] == ["odd", "b"]
    published = parts.outlet.bucket[upstream_key(upstream.id)]
    assert published == stored == upstream
    assert [(e.change, e.tools) for e in parts.outlet.events] == [("created", 2)]
    action, actor, target, detail = parts.outlet.actions[0]
    assert (action, actor, target) == ("upstream.created", MAKER.principal, upstream.id)
    assert [(each["kind"], each["name"], each["digest"]) for each in cast("Any", detail["added"])] == [
        ("tool", "odd", "sha256:1"),
        ("tool", "b", "sha256:1"),
    ]
    assert cast("Any", detail["added"])[0]["definition"] == odd.decode()


async def test_an_upstream_that_does_not_answer_is_refused_with_what_failed(parts: Parts) -> None:
    parts.world.found[URL] = UpstreamUnusable("nothing listens there", "refused")
    with pytest.raises(UpstreamFailed, match="nothing listens"):
        await parts.upstreams.create(registration())
    assert (await parts.upstreams.list(Page(ADMIN))).upstreams == ()
    assert parts.outlet.bucket == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "line\nbreak"},
        {"name": "***"},
        {"url": "ftp://host/mcp"},
        {"url": "https://"},
        {"url": "notes"},
        {"url": "https://user:secret@host/mcp"},
        {"url": "https://host/mcp#part"},
        {"url": "https://host:99999/mcp"},
        {"url": "https://host/" + "x" * 2048},
        {"description": "x" * 5000},
        {"visibility": "team"},
        {"visibility": "team", "team": "blue"},
    ],
)
async def test_what_cannot_be_an_upstream_is_refused_before_it_is_called(parts: Parts, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        await parts.upstreams.create(registration(**changes))
    assert "secret" not in str(caught.value)
    assert parts.world.asked == []


@pytest.mark.parametrize("name", ["Team Notes", "team notes", "TEAM--NOTES"])
async def test_names_that_make_the_same_slug_do_not_coexist(parts: Parts, name: str) -> None:
    await parts.upstreams.create(registration())
    with pytest.raises(NameTaken):
        await parts.upstreams.create(registration(name=name, url="https://other.example.com/mcp"))
    assert len((await parts.upstreams.list(Page(ADMIN))).upstreams) == 1


async def test_a_permission_of_a_team_counts_for_what_belongs_to_it(parts: Parts) -> None:
    held = {"red": ("gateways.create", "gateways.update")}
    maker = Actor("maker@example.com", teams=("red",), team_permissions=held)
    with pytest.raises(PermissionDenied, match=r"gateways\.create"):
        await parts.upstreams.create(registration(actor=maker))
    ours = registration(actor=maker, visibility="team", team="red")
    made = await parts.upstreams.create(ours)
    with pytest.raises(PermissionDenied, match=r"gateways\.update"):
        await parts.upstreams.update(UpdateUpstream(made.id, registration(actor=maker)))
    await parts.upstreams.update(UpdateUpstream(made.id, ours))


async def test_creating_needs_the_permission(parts: Parts) -> None:
    with pytest.raises(PermissionDenied, match=r"gateways\.create"):
        await parts.upstreams.create(registration(actor=Actor("reader@example.com", permissions=("tools.read",))))


@pytest.mark.parametrize(
    ("visibility", "team", "seen_by"),
    [
        ("public", None, {"admin", "owner", "teammate", "stranger", "owner without teams"}),
        ("team", "red", {"admin", "owner", "teammate"}),
        ("private", None, {"admin", "owner"}),
    ],
)
async def test_who_sees_an_upstream(parts: Parts, visibility: Visibility, team: str | None, seen_by: set[str]) -> None:
    actors = {
        "admin": ADMIN,
        "owner": MAKER,
        "teammate": Actor("mate@example.com", teams=("green", "red")),
        "stranger": STRANGER,
        "owner without teams": Actor(MAKER.principal),
    }
    upstream = await parts.upstreams.create(registration(visibility=visibility, team=team))
    listed = {n for n, a in actors.items() if (await parts.upstreams.list(Page(a))).upstreams}
    assert listed == {name for name, actor in actors.items() if may_see(actor, upstream)} == seen_by
    for name, actor in actors.items():
        if name not in seen_by:
            with pytest.raises(NotFound):
                await parts.upstreams.get(ById(actor, upstream.id))


async def test_pages_follow_each_other_without_tools(parts: Parts) -> None:
    made = {(await parts.upstreams.create(registration(name=f"n{number}"))).id for number in range(5)}
    found: list[Upstream] = []
    cursor = None
    while True:
        page = await parts.upstreams.list(Page(ADMIN, cursor, limit=2))
        found += page.upstreams
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [u.id for u in found] == sorted(made)
    assert all(u.tools == () for u in found)


async def test_its_owner_deletes_an_upstream_and_every_trace_of_it(parts: Parts) -> None:
    upstream = await parts.upstreams.create(registration())
    with pytest.raises(PermissionDenied, match="owner"):
        await parts.upstreams.delete(ById(STRANGER, upstream.id))
    with pytest.raises(PermissionDenied, match=r"gateways\.delete"):
        await parts.upstreams.delete(ById(Actor(MAKER.principal), upstream.id))
    await parts.upstreams.delete(ById(MAKER, upstream.id))
    assert parts.outlet.bucket == {}
    assert parts.outlet.events[-1].change == "deleted"
    assert parts.outlet.actions[-1][0] == "upstream.deleted"
    with pytest.raises(NotFound):
        await parts.upstreams.get(ById(ADMIN, upstream.id))
    await parts.upstreams.create(registration())


async def test_an_upstream_that_went_away_keeps_its_tools_and_says_why(parts: Parts) -> None:
    upstream = await parts.upstreams.create(registration())
    parts.world.found[URL] = UpstreamUnusable("nothing listens there", "refused")
    away = await parts.upstreams.refresh(ById(MAKER, upstream.id))
    assert (away.reachable, away.problem, len(away.tools)) == (False, "nothing listens there", 2)
    assert parts.outlet.bucket[upstream_key(upstream.id)] == away
    parts.world.found.clear()
    back = await parts.upstreams.refresh(ById(ADMIN, upstream.id))
    assert (back.reachable, back.problem) == (True, "")


async def test_a_changed_definition_is_stored_and_every_version_is_in_the_record(parts: Parts) -> None:
    upstream = await parts.upstreams.create(registration())
    changed = (tool("two", b'{"name":"two","x":1}', "sha256:2"), tool("three"))
    parts.world.found[URL] = Discovered("modern", "2026-07-28", changed)
    after = await parts.upstreams.refresh(ById(MAKER, upstream.id))
    assert [(t.name, t.digest) for t in after.tools] == [("two", "sha256:2"), ("three", "sha256:1")]
    action, actor, _, detail = cast("Any", parts.outlet.actions[-1])
    assert (action, actor) == ("upstream.changed", MAKER.principal)
    (entry,) = detail["changed"]
    assert (entry["name"], entry["before"], entry["digest"]) == ("two", "sha256:1", "sha256:2")
    assert (entry["grade"], entry["reasons"], entry["standing"]) == ("widened", ["x is new"], "quarantined")
    assert entry["definition"] == '{"name":"two","x":1}'
    assert [each["name"] for each in detail["added"]] == ["three"]
    assert detail["removed"] == [{"kind": "tool", "name": "one", "digest": "sha256:1"}]


async def test_records_of_many_definitions_come_in_pieces_that_fit_the_bus(parts: Parts) -> None:
    filler = b"x" * 1000
    many = tuple(tool(f"t{number}", b'{"name":"t%d","description":"%s"}' % (number, filler)) for number in range(500))
    parts.world.found[URL] = Discovered("modern", "2026-07-28", many)
    upstream = await parts.upstreams.create(registration())
    pieces = [cast("Any", detail) for *_, detail in parts.outlet.actions]
    assert len(pieces) > 1
    assert max(len(msgspec.json.encode(detail)) for detail in pieces) < 200_000
    assert sum(len(detail["added"]) for detail in pieces) == 500
    parts.world.found[URL] = Discovered("modern", "2026-07-28", ())
    await parts.upstreams.refresh(ById(MAKER, upstream.id))
    later = [cast("Any", detail) for *_, detail in parts.outlet.actions[len(pieces) :]]
    assert sum(len(detail["removed"]) for detail in later) == 500


async def test_a_refresh_that_finds_nothing_new_tells_nobody(parts: Parts) -> None:
    upstream = await parts.upstreams.create(registration())
    await parts.upstreams.refresh(ById(MAKER, upstream.id))
    assert len(parts.outlet.events) == len(parts.outlet.actions) == 1


async def test_the_era_of_the_registration_is_asked_for_again(parts: Parts) -> None:
    upstream = await parts.upstreams.create(registration(era="legacy"))
    await parts.upstreams.refresh(ById(MAKER, upstream.id))
    assert parts.world.asked == [(URL, "legacy"), (URL, "legacy")]


async def test_replicas_share_the_periodic_refresh(parts: Parts) -> None:
    for number in range(5):
        await parts.upstreams.create(registration(name=f"n{number}", url=f"https://n{number}.example.com"))
    parts.world.asked.clear()
    assert await refreshing(parts).round() == 0
    parts.clock.advance(75)  # the interval and its jitter
    assert sum(await asyncio.gather(refreshing(parts).round(), refreshing(parts).round())) == 5
    assert len(parts.world.asked) == len(set(parts.world.asked)) == 5
    assert await refreshing(parts).round() == 0


async def test_without_its_record_nothing_happens(parts: Parts) -> None:
    parts.outlet.silent = True
    with pytest.raises(Unavailable):
        await parts.upstreams.create(registration())
    parts.outlet.silent = False
    assert (await parts.upstreams.list(Page(ADMIN))).upstreams == ()
    assert parts.outlet.bucket == {}


async def test_what_the_bus_did_not_take_is_published_when_it_is_back(parts: Parts) -> None:
    parts.outlet.away = True
    with pytest.raises(Unavailable):
        await parts.upstreams.create(registration())
    await parts.publisher.settle()
    assert parts.publisher.owed
    parts.outlet.away = False
    await parts.publisher.settle()
    assert len(parts.outlet.bucket) == 1
    assert not parts.publisher.owed


async def test_reconciling_brings_the_bucket_to_the_database(parts: Parts) -> None:
    upstream = await parts.upstreams.create(registration())
    zombie = upstream_key("gone")
    parts.outlet.bucket = {zombie: upstream}
    assert await parts.publisher.reconcile({zombie: b""}) == 2
    assert list(parts.outlet.bucket) == [upstream_key(upstream.id)]


async def test_what_the_bucket_holds_already_is_left_alone(parts: Parts) -> None:
    upstream = await parts.upstreams.create(registration())
    key = upstream_key(upstream.id)
    held = {key: digest_of(msgspec.json.encode(parts.outlet.bucket[key]))}
    parts.outlet.bucket.clear()
    assert await parts.publisher.reconcile(held) == 0
    assert parts.outlet.bucket == {}
