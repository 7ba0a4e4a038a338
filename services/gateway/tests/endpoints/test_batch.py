"""Batches of revision 2025-03-26: several messages in one POST, answered on one stream."""

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from interlock_common.messages.audit import CallIntent, CallOutcome
from interlock_common.testing.waiting import until
from interlock_gateway.endpoints.batch import MAX_MESSAGES
from interlock_gateway.testing.edges import LIST, Conversing, Edge, call_body, conversing_at, events_of
from interlock_gateway.testing.servers import serving

type Edges = tuple[Edge, Edge]

OLD = "2025-03-26"
PING = b'{"jsonrpc":"2.0","id":"p","method":"ping"}'
NOTE = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


def batch(*messages: bytes) -> bytes:
    return b" [" + b",".join(messages) + b"]"


def cancelled(request_id: Any) -> bytes:
    params = {"requestId": request_id}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


@pytest.fixture
async def talking(edges: Edges) -> AsyncGenerator[Conversing]:
    """An upstream that both edges know."""
    upstream = Conversing()
    async with serving(upstream.handle) as url:
        for edge in edges:
            edge.world.register(conversing_at(url))
        yield upstream


async def test_each_request_of_a_batch_has_its_answer(edges: Edges) -> None:
    first, _ = edges
    session = await first.initialize(OLD)
    unknown = b'{"jsonrpc":"2.0","id":3,"method":"no/such"}'
    again = b'{"jsonrpc":"2.0","id":4,"method":"initialize","params":{}}'
    answer = await first.ask(batch(LIST, NOTE, PING, unknown, again), session)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    answers = {said["id"]: said for said in (event.json() for event in events_of(answer.body))}
    assert answers["p"]["result"] == {}
    assert answers[2]["result"] == {"tools": []}
    assert [answers[number]["error"]["code"] for number in (3, 4)] == [-32601, -32601]
    assert len(answers) == 4
    assert answer.complete


async def test_what_needs_no_answer_is_accepted(edges: Edges) -> None:
    first, _ = edges
    session = await first.initialize(OLD)
    answer = await first.ask(batch(NOTE, NOTE), session)
    assert (answer.status, answer.body) == (202, b"")


async def test_calls_of_a_batch_run_side_by_side_and_each_has_its_record(edges: Edges, talking: Conversing) -> None:
    first, _ = edges
    session = await first.initialize(OLD)
    opened = first.open(batch(call_body(1), call_body(2), call_body(3)), session)
    await until(lambda: len(talking.calls) == 3)
    talking.progress(1)
    for _ in range(3):
        talking.answer()
    await opened.ended()
    said = [event.json() for event in opened.said]
    assert sorted(each["id"] for each in said if "result" in each) == [1, 2, 3]
    assert [each["method"] for each in said if "method" in each] == ["notifications/progress"]
    intents, outcomes = (first.world.audit.of(kind) for kind in (CallIntent, CallOutcome))
    assert len(intents) == 3
    assert [outcome.outcome for outcome in outcomes] == ["ok"] * 3


async def test_one_request_of_a_batch_is_cancelled_and_the_others_go_on(edges: Edges, talking: Conversing) -> None:
    first, second = edges
    session = await first.initialize(OLD)
    opened = first.open(batch(call_body(1), call_body(2)), session)
    await until(lambda: len(talking.calls) == 2)
    assert (await second.ask(cancelled(1), session)).status == 202
    await until(lambda: len(first.world.audit.of(CallOutcome)) == 1)
    talking.answer()
    talking.answer()
    await opened.ended()
    assert [event.json()["id"] for event in opened.said] == [2]
    assert sorted(each.outcome for each in first.world.audit.of(CallOutcome)) == ["cancelled", "ok"]


async def test_a_client_is_asked_in_the_middle_of_a_batch_and_may_answer_in_one(
    edges: Edges, talking: Conversing
) -> None:
    first, second = edges
    session = await first.initialize(OLD, roots={})
    opened = first.open(batch(call_body(1), PING), session)
    talking.ask("roots/list")
    await until(lambda: any("method" in event.json() for event in opened.said))
    (asked,) = [event.json()["id"] for event in opened.said if "method" in event.json()]
    answer = msgspec.json.encode({"jsonrpc": "2.0", "id": asked, "result": {"roots": []}})
    assert (await second.ask(batch(answer, NOTE), session)).status == 202
    await until(lambda: any(each.get("id") == "asked" for each in talking.heard))
    talking.answer()
    await opened.ended()
    assert [event.json()["id"] for event in opened.said if "result" in event.json()] == ["p", 1]


async def test_the_stream_of_a_batch_is_resumed_at_another_edge(edges: Edges, talking: Conversing) -> None:
    first, second = edges
    session = await first.initialize(OLD)
    opened = first.open(batch(PING, call_body(1)), session)
    (ping,) = await opened.until_said(1)
    resumed = second.open(b"", session, last=ping.id)
    await until(lambda: resumed.answer.status == 200)
    talking.answer()
    assert [event.json()["id"] for event in await resumed.until_said(1)] == [1]
    assert (await resumed.ended()).complete


async def test_a_revocation_ends_every_request_of_a_batch(edges: Edges, talking: Conversing) -> None:
    first, _ = edges
    session = await first.initialize(OLD)
    opened = first.open(batch(call_body(1), call_body(2)), session)
    await until(lambda: len(talking.calls) == 2)
    first.world.revoke()
    await until(lambda: len(first.world.audit.of(CallOutcome)) == 2)
    await opened.ended()
    assert [each.outcome for each in first.world.audit.of(CallOutcome)] == ["revoked", "revoked"]


async def test_the_end_of_a_session_ends_its_batch(edges: Edges, talking: Conversing) -> None:
    first, second = edges
    session = await first.initialize(OLD)
    opened = first.open(batch(call_body(1), call_body(2)), session)
    await until(lambda: len(talking.calls) == 2)
    assert (await second.ask(b"", session, method="DELETE")).status == 204
    await opened.ended()
    assert [each.outcome for each in first.world.audit.of(CallOutcome)] == ["cancelled", "cancelled"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", -32600), (b"[1]", -32600), (batch(PING, b'{"id":1}'), -32600), (b"[" + PING, -32700),
        (batch(*[PING] * (MAX_MESSAGES + 1)), -32600), (b"[" * 200 + b"]" * 200, -32600),
    ],
)  # fmt: skip
async def test_what_is_no_batch_is_refused_as_a_whole(edges: Edges, body: bytes, code: int) -> None:
    first, _ = edges
    session = await first.initialize(OLD)
    answer = await first.ask(body, session)
    assert (answer.status, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_other_revisions_have_no_batches(edges: Edges, version: str) -> None:
    first, _ = edges
    session = await first.initialize(version)
    for answer in (await first.ask(batch(PING), session), await first.ask(batch(PING))):
        assert (answer.status, answer.json()["error"]["code"]) == (400, -32600)
