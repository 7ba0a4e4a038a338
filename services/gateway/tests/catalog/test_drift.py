"""From an announced change to what every edge shows: noticed, graded, published, accepted."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from interlock_common.errors import NotFound, PermissionDenied, UpstreamFailed
from interlock_common.messages.catalog import AcceptDefinition, CreateUpstream, Definition, Upstream, upstream_key
from interlock_common.testing.waiting import until
from interlock_gateway.catalog.errors import DefinitionChanged
from interlock_gateway.catalog.listening import Listening
from interlock_gateway.catalog.noticing import Noticing, changed_lists
from interlock_gateway.catalog.refreshing import Refreshing
from interlock_gateway.catalog.testing import MAKER, STRANGER, Parts, tool
from interlock_gateway.upstreams.discovery.discovery import EVERYTHING, Discovered
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable
from interlock_gateway.upstreams.transport import Exchange, UpstreamRequest

URL = "https://notes.example.com/mcp"
ANNOUNCES = b'{"tools":{"listChanged":true}}'
TOOLS_CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
WIDER = tool("one", b'{"name":"one","inputSchema":{"properties":{"cc":{}}}}', "sha256:wider")


async def register(parts: Parts, **changes: Any) -> Upstream:
    given: dict[str, Any] = {"actor": MAKER, "name": "Notes", "url": URL}
    return await parts.upstreams.create(CreateUpstream(**(given | changes)))


def drifts(parts: Parts, *tools: Definition) -> None:
    parts.world.found[URL] = Discovered("modern", "2026-07-28", tools, capabilities=ANNOUNCES)


def shown(parts: Parts, upstream: Upstream) -> Upstream:
    return cast("Upstream", parts.outlet.bucket[upstream_key(upstream.id)])


@pytest.fixture
async def noticing(parts: Parts) -> AsyncGenerator[Noticing]:
    noticing = Noticing(parts.looking, parts.clock, concurrency=2)
    yield noticing
    await noticing.stop()


async def test_an_announced_change_is_quarantined_on_every_edge_until_it_is_accepted(
    parts: Parts, noticing: Noticing
) -> None:
    upstream = await register(parts)
    drifts(parts, WIDER)
    noticing.notice(upstream.id, TOOLS_CHANGED)
    await until(lambda: shown(parts, upstream).tools != upstream.tools)
    (one,) = shown(parts, upstream).tools
    assert (one.digest, one.standing) == ("sha256:wider", "quarantined")
    assert "inputSchema is new" in one.reason
    assert parts.world.kinds[-1] == {"tool"}

    await parts.upstreams.accept(AcceptDefinition(MAKER, upstream.id, "tool", "one", "sha256:wider"))
    (one,) = shown(parts, upstream).tools
    assert (one.standing, one.reason) == ("accepted", "")
    assert parts.outlet.events[-1].change == "accepted"
    action, actor, _, detail = cast("Any", parts.outlet.actions[-1])
    assert (action, actor) == ("definition.accepted", MAKER.principal)
    assert detail["changed"][0]["digest"] == "sha256:wider"


async def test_what_is_accepted_is_what_was_looked_at(parts: Parts) -> None:
    upstream = await register(parts)
    drifts(parts, WIDER)
    await parts.looking.look(upstream.id)
    with pytest.raises(DefinitionChanged):
        await parts.upstreams.accept(AcceptDefinition(MAKER, upstream.id, "tool", "one", "sha256:1"))
    assert shown(parts, upstream).tools[0].standing == "quarantined"
    for kind, name in (("tool", "two"), ("prompt", "one")):
        with pytest.raises(NotFound):
            await parts.upstreams.accept(AcceptDefinition(MAKER, upstream.id, cast("Any", kind), name, "sha256:1"))
    with pytest.raises(PermissionDenied):
        await parts.upstreams.accept(AcceptDefinition(STRANGER, upstream.id, "tool", "one", "sha256:wider"))


async def test_a_partial_look_leaves_the_rest_alone_and_a_failing_one_becomes_complete(parts: Parts) -> None:
    prompts = (tool("p"),)
    parts.world.found[URL] = Discovered("modern", "2026-07-28", (tool("one"),), prompts=prompts, capabilities=ANNOUNCES)
    upstream = await register(parts)
    drifts(parts, WIDER)
    await parts.looking.look(upstream.id, frozenset({"tool"}))
    after = shown(parts, upstream)
    assert [each.name for each in after.prompts] == ["p"]
    assert bytes(after.capabilities) == ANNOUNCES
    parts.world.found[URL] = UpstreamUnusable("it is away", "refused")
    parts.world.kinds.clear()
    assert isinstance(await parts.looking.look(upstream.id, frozenset({"tool"})), UpstreamFailed)
    assert parts.world.kinds == [{"tool"}, EVERYTHING]
    assert not shown(parts, upstream).reachable


async def test_what_is_missing_of_an_upstream_is_told_until_it_is_mended(parts: Parts) -> None:
    missing = "left out: odd (its marks do not fit)"
    found = Discovered("modern", "2026-07-28", (tool("one"),), capabilities=ANNOUNCES, left_out=missing)
    parts.world.found[URL] = found
    upstream = await register(parts)
    assert (upstream.reachable, upstream.problem) == (True, missing)
    assert parts.outlet.actions[-1][3]["problem"] == missing

    await parts.looking.look(upstream.id, frozenset({"prompt"}))
    assert shown(parts, upstream).problem == missing
    drifts(parts, tool("one"))
    await parts.looking.look(upstream.id, frozenset({"tool"}))
    assert (shown(parts, upstream).reachable, shown(parts, upstream).problem) == (True, "")
    assert parts.outlet.actions[-1][3]["problem"] == ""


async def test_many_announcements_are_one_look_now_and_one_later(parts: Parts, noticing: Noticing) -> None:
    upstream = await register(parts)
    parts.world.kinds.clear()
    for _ in range(100):
        noticing.notice(upstream.id, TOOLS_CHANGED)
        noticing.notice(upstream.id, b'{"method":"notifications/prompts/list_changed"}')
    await parts.clock.until_asleep()
    assert parts.world.kinds == [{"tool", "prompt"}]
    for _ in range(100):
        noticing.notice(upstream.id, TOOLS_CHANGED)
    assert len(parts.world.kinds) == 1
    parts.clock.advance(1)
    await until(lambda: len(parts.world.kinds) == 2)


@pytest.mark.parametrize(
    "message", [b"", b"{", b"[]", b'{"method":5}', b'{"method":"notifications/resources/updated"}', b"[" * 100_000]
)
def test_nothing_else_is_an_announcement(message: bytes) -> None:
    assert changed_lists(message) == frozenset()


async def test_an_upstream_that_is_away_is_tried_again_at_growing_distances(parts: Parts) -> None:
    upstream = await register(parts)
    refreshing = Refreshing(parts.engine, parts.looking, parts.publisher, parts.clock, concurrency=2)
    parts.world.found[URL] = UpstreamUnusable("nothing listens there", "refused")
    parts.clock.advance(75)
    pauses: list[int] = []
    for _ in range(7):
        waited = 0
        while not await refreshing.round():
            parts.clock.advance(1)
            waited += 1
        pauses.append(waited)
    assert pauses[0] == 0
    assert pauses[1] <= 2
    assert pauses[-1] >= 25
    parts.world.found.clear()
    parts.clock.advance(100)
    assert await refreshing.round() == 1
    assert shown(parts, upstream).reachable


async def test_one_that_hangs_holds_up_no_other(parts: Parts) -> None:
    hanging = await register(parts)
    await register(parts, name="Quick", url="https://quick.example.com")
    released = asyncio.Event()
    asked = parts.world.__call__

    async def discover(upstream: Upstream, kinds: Any = EVERYTHING) -> Discovered:
        if upstream.id == hanging.id:
            await released.wait()
        return await asked(upstream, kinds)

    parts.looking.discover = discover
    parts.clock.advance(75)
    refreshing = Refreshing(parts.engine, parts.looking, parts.publisher, parts.clock, concurrency=2)
    round_ = asyncio.create_task(refreshing.round())
    parts.world.asked.clear()
    await until(lambda: bool(parts.world.asked))
    assert not round_.done()
    released.set()
    assert await round_ == 2


@dataclass
class FakeEars:
    """A transport that only listens; what is put into ``said`` is heard, None ends the listening."""

    said: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue[bytes | None])
    opened: list[str] = field(default_factory=list[str])
    closed: int = 0
    failure: UpstreamFailed | None = None

    def open(self, request: UpstreamRequest) -> AbstractAsyncContextManager[Exchange]:
        raise NotImplementedError(request)

    @asynccontextmanager
    async def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        assert (principal, tuple(uris)) == (upstream.owner, ())
        assert session_key
        self.opened.append(upstream.id)
        if self.failure is not None:
            raise self.failure
        try:
            yield self._heard()
        finally:
            self.closed += 1

    async def _heard(self) -> AsyncGenerator[bytes]:
        while (message := await self.said.get()) is not None:
            yield message

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        raise NotImplementedError(upstream, principal, session_key, message)

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        raise NotImplementedError(upstream, session_key)


@asynccontextmanager
async def listening(parts: Parts, noticing: Noticing, ears: FakeEars, limit: int = 10) -> AsyncGenerator[Listening]:
    listening = Listening(parts.engine, {"http": ears}, noticing, parts.clock, limit=limit)
    parts.publisher.on_published(listening.reconsider)
    task = asyncio.create_task(listening.run())
    try:
        yield listening
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_upstreams_that_announce_changes_are_listened_to(parts: Parts, noticing: Noticing) -> None:
    ears = FakeEars()
    async with listening(parts, noticing, ears):
        quiet = await register(parts, name="Quiet", url="https://quiet.example.com")
        drifts(parts, tool("one"))
        upstream = await register(parts)
        await until(lambda: bool(ears.opened))
        assert ears.opened == [upstream.id]
        assert quiet.id not in ears.opened
        drifts(parts, WIDER)
        ears.said.put_nowait(b'{"jsonrpc":"2.0","method":"notifications/message"}')
        ears.said.put_nowait(TOOLS_CHANGED)
        await until(lambda: shown(parts, upstream).tools[0].standing == "quarantined")
    assert ears.closed == 1


async def test_listening_begins_again_and_asks_what_was_missed(parts: Parts, noticing: Noticing) -> None:
    ears = FakeEars()
    drifts(parts, tool("one"))
    upstream = await register(parts)
    async with listening(parts, noticing, ears):
        await until(lambda: bool(ears.opened))
        drifts(parts, WIDER)
        ears.said.put_nowait(None)
        await until(lambda: ears.closed == 1)
        await parts.clock.until_asleep()
        parts.clock.advance(3)
        await until(lambda: shown(parts, upstream).tools[0].standing == "quarantined")
    assert ears.opened == [upstream.id, upstream.id]


async def test_one_that_is_away_or_deleted_is_not_listened_to(parts: Parts, noticing: Noticing) -> None:
    ears = FakeEars()
    drifts(parts, tool("one"))
    upstream = await register(parts)
    async with listening(parts, noticing, ears) as ear:
        await until(lambda: bool(ears.opened))
        parts.world.found[URL] = UpstreamUnusable("it is away", "refused")
        await parts.looking.look(upstream.id)
        await until(lambda: ears.closed == 1)
        assert await ear.round() == 0


async def test_no_more_are_listened_to_than_set(parts: Parts, noticing: Noticing) -> None:
    ears = FakeEars()
    for number in range(3):
        url = f"https://n{number}.example.com"
        parts.world.found[url] = Discovered("modern", "2026-07-28", capabilities=ANNOUNCES)
        await register(parts, name=f"n{number}", url=url)
    async with listening(parts, noticing, ears, limit=2):
        await until(lambda: len(ears.opened) == 2)
        await parts.clock.until_asleep()
    assert len(set(ears.opened)) == 2


async def test_where_there_is_nothing_to_hear_nobody_asks_again(parts: Parts, noticing: Noticing) -> None:
    unsupported = UpstreamUnusable("it has no stream", "protocol")
    unsupported.__class__ = type("Unsupported", (UpstreamUnusable,), {"code": "upstream_listen_unsupported"})
    ears = FakeEars(failure=unsupported)
    drifts(parts, tool("one"))
    await register(parts)
    async with listening(parts, noticing, ears) as ear:
        await until(lambda: bool(ears.opened))
        parts.clock.advance(1000)
        assert await ear.round() == 1
    assert len(ears.opened) == 1


async def test_a_look_costs_work_in_proportion_to_one_upstream(parts: Parts) -> None:
    made = [await register(parts, name=f"n{number}", url=f"https://n{number}.example.com") for number in range(30)]
    puts = 0
    put = parts.outlet.put

    async def counting(key: str, item: Any) -> None:
        nonlocal puts
        puts += 1
        await put(key, item)

    parts.outlet.put = counting  # type: ignore[method-assign]
    parts.world.found["https://n7.example.com"] = Discovered("modern", "2026-07-28", (WIDER,))
    parts.clock.advance(75)
    refreshing = Refreshing(parts.engine, parts.looking, parts.publisher, parts.clock, concurrency=4)
    assert await refreshing.round() == 30
    assert puts == 1
    assert shown(parts, made[7]).tools[0].standing == "quarantined"
