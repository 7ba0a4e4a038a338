"""Streams of requests of the handshake era: kept, and resumed at whichever edge."""

import asyncio

import pytest

from interlock_common.testing.waiting import until
from interlock_gateway.endpoints import reply
from interlock_gateway.sessions import client as session_client
from interlock_gateway.sessions import following, pulse, streams
from interlock_gateway.testing.callers import EVE
from interlock_gateway.testing.edges import Conversing, Edge, call_body, events_of

type Edges = tuple[Edge, Edge]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(following, "_SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(streams, "_CHECK_SECONDS", 0.05)


async def test_a_plain_answer_is_json_and_nothing_of_it_is_kept(edges: Edges, upstream: Conversing) -> None:
    first, _ = edges
    session = await first.initialize()
    upstream.answer()
    answer = await first.ask(call_body(), session)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["id"] == 7
    assert (await first.bus.js.stream_info("SESSIONS")).state.messages == 0


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2025-03-26"])
async def test_every_event_of_a_stream_has_an_id_of_its_own(edges: Edges, upstream: Conversing, version: str) -> None:
    first, _ = edges
    session = await first.initialize(version)
    for number in range(3):
        upstream.progress(number)
    upstream.answer()
    answer = await first.ask(call_body(), session)
    events = events_of(answer.body)
    if version == "2025-11-25":
        assert (events.pop(0).data, b"retry: 1000\n" in answer.body) == (b"", True)
    stream, _, number = events[0].id.partition("/")
    assert len(stream) >= 32
    assert [event.id for event in events] == [f"{stream}/{n}" for n in range(1, 5)]
    assert number == "1"
    assert events[-1].json()["id"] == 7


@pytest.mark.parametrize("version", ["2025-11-25", "2025-03-26"])
async def test_a_stream_goes_on_at_another_edge_without_loss_or_repetition(
    edges: Edges, upstream: Conversing, version: str
) -> None:
    first, second = edges
    session = await first.initialize(version)
    opened = first.open(call_body(), session)
    for number in range(10):
        upstream.progress(number)
    seen = (await opened.until_said(10))[:4]
    resumed = second.open(session=session, last=seen[-1].id)
    await resumed.until_said(6)
    for number in range(10, 20):
        upstream.progress(number)
    upstream.answer()
    assert (await resumed.ended()).complete
    said = seen + resumed.said
    assert [event.json()["params"]["progress"] for event in said[:-1]] == list(range(20))
    assert said[-1].json()["id"] == 7
    assert len({event.id for event in said}) == 21
    # One message goes to one stream: the connection at the first edge ended when another took the stream over.
    assert len(opened.said) == 10
    assert opened.task.done()


async def test_a_stream_that_is_over_can_be_read_to_its_end(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    upstream.progress(1)
    upstream.progress(2)
    upstream.answer()
    events = events_of((await first.ask(call_body(), session)).body)
    for edge in edges:
        resumed = await edge.ask(b"", session, method="GET", last=events[0].id)
        assert events_of(resumed.body) == events[1:]
    assert events_of((await second.ask(b"", session, method="GET", last=events[2].id)).body) == events[3:]


async def test_the_work_goes_on_when_the_client_leaves(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body(), session)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    opened.task.cancel()  # as a server does that has lost the connection
    await asyncio.gather(opened.task, return_exceptions=True)
    upstream.progress(2)
    upstream.answer()
    resumed = await second.ask(b"", session, method="GET", last=event.id)
    assert [each.json().get("id") for each in events_of(resumed.body)] == [None, 7]
    assert upstream.left == 0


async def test_a_reader_that_takes_nothing_is_let_go_and_misses_nothing(
    edges: Edges, upstream: Conversing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply, "SEND_SECONDS", 0.05)
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body(), session)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    opened.answer.reading.clear()
    upstream.progress(2)
    assert not (await opened.ended()).complete  # an answer without an end makes the server close the connection
    upstream.answer()
    resumed = await second.ask(b"", session, method="GET", last=event.id)
    assert [each.json().get("id") for each in events_of(resumed.body)] == [None, 7]


async def test_a_killed_edge_ends_its_streams_with_an_error_that_says_so(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body("call-1"), session)
    upstream.progress(1)
    upstream.progress(2)
    events = await opened.until_said(2)
    waiting = second.open(session=session, last=events[0].id)
    await waiting.until_said(1)
    await first.kill()
    assert (await waiting.ended()).complete
    later = await second.ask(b"", session, method="GET", last=events[0].id)
    for said in (waiting.said, [each for each in events_of(later.body) if each.data]):
        assert said[0] == events[1]
        lost = said[1].json()
        assert (lost["id"], lost["error"]["data"]) == ("call-1", {"code": "call_lost", "retryable": True})


async def test_a_stream_belongs_to_its_session(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    mine, other = await first.initialize(), await first.initialize()
    opened = first.open(call_body(), mine)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    for edge in edges:
        assert (await edge.ask(b"", other, method="GET", last=event.id)).status == 404
        assert (await edge.ask(b"", mine, principal=EVE, method="GET", last=event.id)).status == 404
    unknown = f"{'0' * 8}-{'0' * 32}/1"
    assert (await second.ask(b"", mine, method="GET", last=unknown)).status == 404
    for nonsense in ("x", "../1", "get.1/2", f"{'0' * 8}-{'0' * 32}/{'9' * 10}", f"*-{'0' * 32}/1"):
        assert (await second.ask(b"", mine, method="GET", last=nonsense)).status == 400
    upstream.answer()
    assert (await opened.ended()).complete  # nobody took it away


async def test_an_answer_larger_than_a_message_of_the_bus_can_be_resumed(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    reply_size = 30 * 1024
    large = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"%s"}}' % (b"x" * reply_size)
    opened = first.open(call_body(), session)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_client, "_PART", 1000)
        upstream.say.put_nowait(large)
        upstream.answer()
        await opened.ended()
    resumed = await second.ask(b"", session, method="GET", last=event.id)
    said = events_of(resumed.body)
    assert (said[0].data, said[1].json()["id"]) == (large, 7)
    assert events_of((await second.ask(b"", session, method="GET", last=said[0].id)).body) == said[1:]


async def test_what_takes_long_becomes_a_stream_that_is_kept_alive(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    first.world.traffic.pulse = beating = pulse.Pulse(first.world.traffic.pulse._clock, silence=0.1)  # pyright: ignore[reportPrivateUsage]
    beating.start()
    session = await first.initialize()
    opened = first.open(call_body(), session)
    await until(lambda: opened.answer.body.count(b": keep-alive\n\n") >= 2)
    (begun,) = opened.events
    upstream.answer()
    resumed = await second.ask(b"", session, method="GET", last=begun.id)
    assert [each.json()["id"] for each in events_of(resumed.body)] == [7]
    await beating.stop()


async def test_a_revocation_ends_work_whose_client_has_left(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body(), session)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    following_on = second.open(session=session, last=event.id)
    await until(opened.task.done)
    first.world.revoke()
    assert (await following_on.ended()).complete
    (said,) = following_on.said
    assert said.json()["error"]["data"]["code"] == "token_revoked"
    await until(lambda: upstream.left == 1 or bool(upstream.heard))


async def test_an_edge_that_ends_says_that_its_calls_are_lost(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body(), session)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    await first.world.traffic.stop(grace=0)
    assert (await opened.ended()).complete
    resumed = await second.ask(b"", session, method="GET", last=event.id)
    (said,) = events_of(resumed.body)
    assert said.json()["error"]["data"]["code"] == "call_lost"
    assert said.data == opened.said[-1].data


async def test_nothing_is_kept_in_memory_of_requests_that_are_over(edges: Edges, upstream: Conversing) -> None:
    first, _ = edges
    session = await first.initialize()
    upstream.progress(1)
    upstream.answer()
    await first.ask(call_body(), session)
    traffic = first.world.traffic
    await until(lambda: not traffic._journal._on_way)  # pyright: ignore[reportPrivateUsage]
    assert not traffic._running._running  # pyright: ignore[reportPrivateUsage]
    assert not traffic._open._replies  # pyright: ignore[reportPrivateUsage]
    assert not traffic._asking._asked  # pyright: ignore[reportPrivateUsage]


async def test_a_session_has_so_many_requests_running(
    edges: Edges, upstream: Conversing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock_gateway.sessions.running.MAX_PER_SESSION", 1)
    first, _ = edges
    session = await first.initialize()
    opened = first.open(call_body(1), session)
    await until(lambda: len(upstream.calls) == 1)
    refused = await first.ask(call_body(2), session)
    assert (refused.status, refused.json()["error"]["data"]["code"]) == (429, "too_many_requests")
    upstream.answer()
    assert (await opened.ended()).json()["id"] == 1


async def test_an_edge_that_ends_lets_go_of_those_who_follow_streams_of_others(
    edges: Edges, upstream: Conversing
) -> None:
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body(), session)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    followed = second.open(session=session, last=event.id)
    await until(opened.task.done)
    upstream.progress(2)
    (seen,) = await followed.until_said(1)
    second.world.traffic.close()
    assert (await followed.ended()).complete
    again = first.open(session=session, last=seen.id)
    upstream.answer()
    assert (await again.ended()).complete
    assert [each.json()["id"] for each in again.said] == [7]
