"""The GET stream of a session: what is said unasked reaches it once, whichever edge says it and whichever serves it."""

import asyncio

import msgspec
import pytest

from interlock_common.messages.gateway import session_key
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.sessions import streams
from interlock_gateway.sessions import traffic as session_traffic
from interlock_gateway.sessions.registry import SessionEnd
from interlock_gateway.testing.edges import Edge, Event, Opened
from interlock_gateway.testing.fakes import FakeMirror
from interlock_gateway.testing.servers import upstream_at

type Edges = tuple[Edge, Edge]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_CHECK_SECONDS", 0.05)


def message(number: int) -> bytes:
    return b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":%d}}' % number


def numbers(events: list[Event]) -> list[int]:
    return [event.json()["params"]["data"] for event in events]


async def say(edge: Edge, session: str, *some: int) -> None:
    for number in some:
        await edge.world.traffic.say(session_key(session), message(number), f"{session_key(session)}-{number}")


async def test_what_any_edge_says_reaches_the_stream_in_order(edges: Edges) -> None:
    first, second = edges
    session = await first.initialize()
    stream = await first.stream(session)
    for number in range(10):
        await say(edges[number % 2], session, number)
        await stream.until_said(number + 1)
    assert numbers(stream.said) == list(range(10))
    await say(second, session, 3)  # said before, under the same name
    await say(second, session, 10)
    assert numbers(await stream.until_said(11)) == list(range(11))


async def test_sessions_hear_only_what_is_said_to_them(edges: Edges) -> None:
    first, second = edges
    mine, other = await first.initialize(), await first.initialize()
    stream, others = await first.stream(mine), await second.stream(other)
    await say(first, mine, 1)
    await say(second, other, 2)
    assert (numbers(await stream.until_said(1)), numbers(await others.until_said(1))) == ([1], [2])


async def test_a_newer_stream_takes_the_place_of_an_older_one(edges: Edges) -> None:
    first, second = edges
    session = await first.initialize()
    older = await first.stream(session)
    for number in range(20):
        await say(first, session, number)
    newer = await second.stream(session)
    assert (await older.ended()).complete
    for number in range(20, 40):
        await say(first, session, number)
    await until(lambda: len(older.said) + len(newer.said) >= 40)
    assert numbers(older.said) + numbers(newer.said) == list(range(40))


async def test_a_stream_that_broke_goes_on_at_another_edge_without_loss_or_repetition(edges: Edges) -> None:
    first, second = edges
    session = await first.initialize()
    stream = await first.stream(session)
    await say(first, session, *range(5))
    seen = (await stream.until_said(5))[:3]
    await first.kill()
    await say(second, session, *range(5, 8))
    resumed = await second.stream(session, last=seen[-1].id)
    await say(second, session, *range(8, 12))
    assert numbers(seen + await resumed.until_said(9)) == list(range(12))
    assert len({event.id for event in seen + resumed.events}) == 13  # with the one that begins the connection


async def test_a_stream_resumes_before_anything_was_said(edges: Edges) -> None:
    first, second = edges
    session = await first.initialize()
    stream = await first.stream(session)
    (begun,) = stream.events
    stream.task.cancel()
    await asyncio.gather(stream.task, return_exceptions=True)
    await say(first, session, 1)
    resumed = await second.stream(session, last=begun.id)
    assert numbers(await resumed.until_said(1)) == [1]


async def test_a_place_that_was_never_reached_is_no_place_to_resume_from(edges: Edges) -> None:
    first, _ = edges
    session = await first.initialize()
    answer = await first.ask(b"", session, method="GET", last="get.00000000/999999.0.1")
    assert answer.status == 404


async def test_only_lists_that_changed_are_told_once_each_to_whom_they_concern(edges: Edges) -> None:
    first, _ = edges
    session = await first.initialize()
    stream = await first.stream(session)
    first.world.register(upstream_at("http://127.0.0.1:9/mcp"))
    first.world.register(upstream_at("http://127.0.0.1:9/mcp", "another"))
    (told,) = await stream.until_said(1)
    assert told.json()["method"] == "notifications/tools/list_changed"
    hidden = upstream_at("http://127.0.0.1:9/mcp", "x", visibility="private", id="u2", name="h", slug="h")
    first.world.register(hidden)
    await say(first, session, 1)
    assert numbers((await stream.until_said(2))[1:]) == [1]


async def test_lists_that_may_have_changed_meanwhile_are_told_on_resumption(edges: Edges) -> None:
    first, second = edges
    session = await first.initialize()
    stream = await first.stream(session)
    (begun,) = stream.events
    same = await second.stream(session, last=begun.id)
    await say(first, session, 1)
    assert numbers(await same.until_said(1)) == [1]
    second.world.revision = 7
    changed = await second.stream(session, last=same.said[0].id)
    methods = {event.json()["method"] for event in await changed.until_said(3)}
    assert methods == {f"notifications/{kind}/list_changed" for kind in ("tools", "resources", "prompts")}


async def test_a_revision_counts_as_told_only_when_all_of_it_was(edges: Edges) -> None:
    first, _ = edges
    session = await first.initialize()
    stream = await first.stream(session)
    first.world.revision = 5
    stream.answer.reading.clear()
    await say(first, session, 1, 2)
    await asyncio.wait([stream.task], timeout=0.3)
    first.world.register(upstream_at("http://127.0.0.1:9/mcp"))
    stream.answer.reading.set()
    events = await stream.until_said(3)
    assert events[-1].id.split(".")[2] == "5"


async def test_a_session_hears_of_what_it_subscribed_to(edges: Edges) -> None:
    first, second = edges
    definition = upstream_at("http://127.0.0.1:9/mcp").tools[0]
    resource = msgspec.structs.replace(definition, name="memo://1", definition=msgspec.Raw(b'{"uri":"memo://1"}'))
    upstream = upstream_at(
        "http://127.0.0.1:9/mcp", resources=(resource,), capabilities=msgspec.Raw(b'{"resources":{"subscribe":true}}')
    )
    for edge in edges:
        edge.world.register(upstream)
    (public,) = [route.public_name for route in first.world.catalog.offer(None).routes["resource"].values()]
    session = await first.initialize()
    stream = await first.stream(session)
    params = {"uri": public}
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": 3, "method": "resources/subscribe", "params": params})
    assert (await second.ask(body, session)).json()["result"] == {}
    await until(lambda: public in first.mirror.items[session_key(session)].subscriptions)
    first.world.changes.updated("u1", "memo://1")
    (told,) = await stream.until_said(1)
    assert told.json() == {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params}


async def test_a_slow_reader_misses_nothing(edges: Edges) -> None:
    first, _ = edges
    session = await first.initialize()
    stream = await first.stream(session)
    stream.answer.reading.clear()
    await say(first, session, *range(100))
    quick = await first.stream(await first.initialize())
    assert quick.answer.status == 200
    stream.answer.reading.set()
    assert numbers(await stream.until_said(100)) == list(range(100))


async def test_a_reader_too_slow_is_let_go_and_misses_nothing(edges: Edges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SEND_SECONDS", 0.05)
    first, second = edges
    session = await first.initialize()
    stream = await first.stream(session)
    await say(first, session, 1)
    (event,) = await stream.until_said(1)
    stream.answer.reading.clear()
    await say(first, session, 2)
    assert not (await stream.ended()).complete  # an answer without an end makes the server close the connection
    resumed = await second.stream(session, last=event.id)
    assert numbers(await resumed.until_said(1)) == [2]


async def test_what_waits_for_a_reader_is_bounded(edges: Edges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_MAX_WAITING", 10)
    first, second = edges
    session = await first.initialize()
    stream = await first.stream(session)
    (begun,) = stream.events
    stream.answer.reading.clear()
    await say(first, session, *range(30))
    await until(lambda: any(open_.attendance.over() for open_ in first.world.traffic._streams._open))  # pyright: ignore[reportPrivateUsage]
    stream.answer.reading.set()
    await stream.ended()
    last = stream.said[-1].id if stream.said else begun.id
    resumed = await second.stream(session, last=last)
    await until(lambda: len(stream.said) + len(resumed.said) >= 30)
    assert numbers(stream.said) + numbers(resumed.said) == list(range(30))


async def test_streams_live_through_a_rotation_of_certificates(edges: Edges, embedded_bus: EmbeddedBus) -> None:
    first, second = edges
    session = await first.initialize()
    stream = await first.stream(session)
    await say(second, session, *range(5))
    for edge in edges:
        await edge.bus.rotate(embedded_bus.identity("gateway").client_context())
    await say(second, session, *range(5, 10))
    assert numbers(await stream.until_said(10)) == list(range(10))


async def test_sessions_can_be_opened_again_after_a_restart_of_the_bus(edges: Edges, embedded_bus: EmbeddedBus) -> None:
    first, second = edges
    lost = await first.initialize()
    await first.stream(lost)
    await embedded_bus.stop(kill=True)
    await until(lambda: not first.bus.connected and not second.bus.connected)
    await embedded_bus.start()
    await until(lambda: first.bus.connected and second.bus.connected)
    opened: list[Opened] = []

    async def served() -> str:
        while True:
            try:
                session = await first.initialize()
            except KeyError:  # refused for now
                await asyncio.sleep(0.05)
                continue
            opened.append(await second.stream(session))
            return session

    async with asyncio.timeout(20):
        session = await served()
    await say(first, session, 1)
    assert numbers(await opened[-1].until_said(1)) == [1]


async def test_a_principal_has_so_many_streams(edges: Edges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_traffic, "MAX_STREAMS", 2)
    first, _ = edges
    for _ in range(2):
        await first.stream(await first.initialize())
    assert (await first.ask(b"", await first.initialize(), method="GET")).status == 429


def test_a_stream_is_over_when_its_token_expires_or_its_session_has_ended() -> None:
    clock = ManualClock()
    mirror: FakeMirror[object] = FakeMirror({"k": object()})
    end = SessionEnd(mirror, "k", clock, expires_at=int(clock.time()) + 60)  # pyright: ignore[reportArgumentType]
    assert not end.reached()
    clock.advance(60)
    assert end.reached()
    ended = SessionEnd(mirror, "k", clock, expires_at=2**40)  # pyright: ignore[reportArgumentType]
    assert not ended.reached()
    mirror.items.clear()
    assert ended.reached()
