"""Asking clients of the handshake era, and taking their answers and cancellations at whichever edge they come to."""

from typing import Any

import msgspec
import pytest

from interlock_common.messages.audit import CallOutcome
from interlock_common.testing.waiting import until
from interlock_gateway.testing.callers import EVE
from interlock_gateway.testing.edges import Conversing, Edge, Event, Opened, call_body, events_of

type Edges = tuple[Edge, Edge]

SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "hm"}, "model": "m"}


def response(asked_id: Any, **more: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": asked_id} | (more or {"result": SAMPLED}))


def cancelled(request_id: Any) -> bytes:
    params = {"requestId": request_id, "reason": "no longer wanted"}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


async def asked(edge: Edge, session: str, upstream: Conversing) -> tuple[Opened, Event]:
    """A call under way whose upstream has asked the client."""
    opened = edge.open(call_body(), session)
    upstream.ask("sampling/createMessage", messages=[], maxTokens=5)
    (event,) = await opened.until_said(1)
    return opened, event


async def test_a_client_is_asked_on_its_stream_and_answers_through_another_edge(
    edges: Edges, upstream: Conversing
) -> None:
    first, second = edges
    session = await first.initialize(sampling={})
    opened, event = await asked(first, session, upstream)
    question = event.json()
    assert (question["method"], question["params"]) == ("sampling/createMessage", {"messages": [], "maxTokens": 5})
    assert question["id"].startswith(first.bus.instance)
    answer = await second.ask(response(question["id"]), session)
    assert (answer.status, answer.body) == (202, b"")
    await until(lambda: any("result" in heard for heard in upstream.heard))
    upstream.answer()
    await opened.ended()
    assert [heard for heard in upstream.heard if "result" in heard] == [
        {"jsonrpc": "2.0", "id": "asked", "result": SAMPLED}
    ]


async def test_a_question_waits_for_a_client_that_comes_back(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize(roots={})
    opened = first.open(call_body(), session)
    upstream.progress(1)
    (seen,) = await opened.until_said(1)
    upstream.ask("roots/list")
    resumed = second.open(session=session, last=seen.id)
    (question,) = await resumed.until_said(1)
    answer = response(question.json()["id"], error={"code": -1, "message": "no"})
    assert (await second.ask(answer, session)).status == 202
    upstream.answer()
    assert (await resumed.ended()).complete
    assert [heard["error"]["message"] for heard in upstream.heard if "error" in heard] == ["no"]


@pytest.mark.parametrize(
    ("capabilities", "method", "params"),
    [
        ({}, "sampling/createMessage", {}),
        ({"sampling": {}}, "elicitation/create", {}),
        ({"elicitation": {}}, "elicitation/create", {"mode": "url"}),
        ({"elicitation": {"url": {}}}, "elicitation/create", {"mode": "form"}),
        ({"sampling": {}, "elicitation": {}, "roots": {}}, "tasks/get", {}),
    ],
)
async def test_a_client_is_not_asked_what_it_cannot_do(
    edges: Edges, upstream: Conversing, capabilities: Any, method: str, params: Any
) -> None:
    first, _ = edges
    session = await first.initialize(**capabilities)
    upstream.ask(method, **params)
    upstream.answer()
    answer = await first.ask(call_body(), session)
    assert answer.json()["id"] == 7  # nothing was asked, so that it is plain JSON
    refused = [heard for heard in upstream.heard if "error" in heard]
    assert [(each["id"], each["error"]["code"]) for each in refused] == [("asked", -32601)]


async def test_an_answer_counts_once_and_only_from_the_session_that_was_asked(
    edges: Edges, upstream: Conversing
) -> None:
    first, second = edges
    session, other = await first.initialize(sampling={}), await first.initialize(sampling={})
    opened, event = await asked(first, session, upstream)
    body = response(event.json()["id"])
    for edge in edges:
        assert (await edge.ask(body, other)).status == 404
        assert (await edge.ask(body, session, principal=EVE)).status == 404
        assert (await edge.ask(response(f"{'0' * 8}.{'0' * 32}"), session)).status == 404
    for nonsense in (1, "x", f"*.{'0' * 32}", None):
        assert (await second.ask(response(nonsense), session)).status == 404
    assert (await second.ask(response(event.json()["id"], other=1), session)).status == 400
    assert (await second.ask(body, session)).status == 202
    assert [(await edge.ask(body, session)).status for edge in edges] == [404, 404]
    upstream.answer()
    await opened.ended()
    assert len([heard for heard in upstream.heard if "result" in heard]) == 1


async def test_nobody_waits_for_a_client_for_ever(
    edges: Edges, upstream: Conversing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = edges
    monkeypatch.setattr(first.world.traffic._asking, "_patience", 0.05)  # pyright: ignore[reportPrivateUsage]
    session = await first.initialize(sampling={})
    opened, event = await asked(first, session, upstream)
    upstream.answer()
    await opened.ended()
    _, withdrawn, answer = opened.said
    assert withdrawn.json()["method"] == "notifications/cancelled"
    assert withdrawn.json()["params"]["requestId"] == event.json()["id"]
    assert answer.json()["id"] == 7
    assert ["error" in heard for heard in upstream.heard if heard.get("id") == "asked"] == [True]
    assert (await second.ask(response(event.json()["id"]), session)).status == 404


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_client_cancels_its_call_through_another_edge(
    edges: Edges, upstream: Conversing, *, streaming: bool
) -> None:
    first, second = edges
    session, other = await first.initialize(), await first.initialize()
    opened, beside = first.open(call_body("a"), session), first.open(call_body("a"), other)
    await until(lambda: len(upstream.calls) == 2)
    if streaming:
        upstream.progress(1)
        await opened.until_said(1)
    assert (await second.ask(cancelled("a"), session)).status == 202
    answer = await opened.ended()
    assert (answer.status, answer.complete) == ((200 if streaming else 202), True)
    assert not any("id" in event.json() for event in opened.said)  # no response
    await until(lambda: any(heard.get("method") == "notifications/cancelled" for heard in upstream.heard))
    await until(lambda: len(first.world.audit.of(CallOutcome)) == 1)
    (outcome,) = first.world.audit.of(CallOutcome)
    assert outcome.outcome == "cancelled"
    upstream.answer()
    upstream.answer()
    assert (await beside.ended()).complete  # the same id in another session is another request
    assert beside.answer.status == 200


async def test_a_cancelled_stream_has_an_end_for_whoever_resumes_it(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body("a"), session)
    upstream.progress(1)
    (event,) = await opened.until_said(1)
    await second.ask(cancelled("a"), session)
    await opened.ended()
    resumed = await second.ask(b"", session, method="GET", last=event.id)
    assert (resumed.status, resumed.complete, events_of(resumed.body)) == (200, True, [])


async def test_the_end_of_a_session_ends_its_work_everywhere(edges: Edges, upstream: Conversing) -> None:
    first, second = edges
    session = await first.initialize()
    opened = first.open(call_body(), session)
    upstream.progress(1)
    await opened.until_said(1)
    assert (await second.ask(session=session, method="DELETE")).status == 204
    assert (await opened.ended()).complete
    assert len(opened.said) == 1
    await until(lambda: len(first.world.audit.of(CallOutcome)) == 1)


@pytest.mark.parametrize("body", [
    b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
    b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}',
    b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"never asked"}}',
])  # fmt: skip
async def test_notifications_of_clients_are_taken(edges: Edges, body: bytes) -> None:
    first, _ = edges
    session = await first.initialize()
    assert (await first.ask(body, session)).status == 202
    assert (await first.ask(body, "no session")).status == 404
