"""A client of the stateless era at an upstream of the handshake era."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock_common.messages.catalog import Limits
from interlock_common.sealing import Sealer
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.held.holding import Holding, TooManyHeld
from interlock_gateway.held.request_state import RequestStates
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.revisions import META_LOG_LEVEL
from interlock_gateway.testing.scripted import FORM, SAID, Play, Scripted, Stage, call_of
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.upstreams.eras.wrapping import Eras
from interlock_gateway.upstreams.transport import UpstreamRequest

SAMPLED = {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"}
RAW = b'{"content":[{"type":"text","text":"n: 1.0"}] , "big":12345678901234567890}'


@dataclass
class Edge:
    """An edge whose only upstream follows a script."""

    clock: ManualClock = field(default_factory=ManualClock)
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    told: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __post_init__(self) -> None:
        states = RequestStates(Sealer(b"secret"), self.clock)
        self.holding = Holding[ModernCall](states, self.clock, "edge-1", **self.limits)
        self.eras = Eras(self.holding)

    def upstream(self, play: Play) -> Scripted:
        self.transport = Scripted(play)
        return self.transport

    async def call(self, request: UpstreamRequest | None = None) -> dict[str, Any]:
        """The response, decoded; what came before it is in ``told``."""
        message = b""
        async with self.eras.open(self.transport, request or call_of(), modern=True) as exchange:
            async for message in exchange:
                self.told.append(msgspec.json.decode(message))
        return self.told.pop()

    async def retry(self, answer: dict[str, Any], responses: Any, **changes: Any) -> dict[str, Any]:
        state = answer["result"]["requestState"]
        return await self.call(call_of(**{"requestState": state, "inputResponses": responses} | changes))


@pytest.fixture
async def edge() -> AsyncGenerator[Edge]:
    edge = Edge()
    yield edge
    await edge.holding.stop()


def requests_of(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["result"]["resultType"] == "input_required"
    return answer["result"]["inputRequests"]


async def asks_a_name(stage: Stage) -> None:
    said = await stage.ask("elicitation/create", **FORM)
    stage.answer({"content": [said]})


async def test_a_result_passes_byte_for_byte(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.answer(RAW)

    async with edge.eras.open(edge.upstream(play), call_of(), modern=True) as exchange:
        (message,) = [message async for message in exchange]
    result = jsonrpc.parse(message).result
    assert isinstance(result, msgspec.Raw)
    assert bytes(result) == RAW


async def test_what_the_upstream_asks_is_asked_in_the_result_and_answered_with_the_retry(edge: Edge) -> None:
    transport = edge.upstream(asks_a_name)
    answer = await edge.call()
    assert requests_of(answer) == {"elicitation-1": {"method": "elicitation/create", "params": FORM}}
    done = await edge.retry(answer, {"elicitation-1": SAID, "unknown": {"action": "accept"}})
    assert done["result"] == {"content": [SAID]}
    assert len(transport.opened) == 1
    assert b"requestState" not in transport.opened[0].params
    assert transport.cancelled == 0


async def test_what_is_asked_at_once_is_asked_at_once(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        asked = [
            stage.asked("elicitation/create", **FORM),
            stage.asked("sampling/createMessage"),
            stage.asked("roots/list"),
        ]
        stage.answer({"n": len(await asyncio.gather(*asked))})

    edge.upstream(play)
    answer = await edge.call()
    assert {each["method"] for each in requests_of(answer).values()} == {
        "elicitation/create", "sampling/createMessage", "roots/list",
    }  # fmt: skip
    responses: dict[str, Any] = {"elicitation-1": SAID, "sampling-2": SAMPLED, "roots-3": {"roots": []}}
    assert (await edge.retry(answer, responses))["result"] == {"n": 3}


async def test_rounds_have_keys_and_states_of_their_own(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        first = await stage.ask("elicitation/create", **FORM)
        stage.notify("notifications/progress", progressToken=1, progress=1)
        second = await stage.ask("elicitation/create", **FORM)
        stage.answer({"content": [first, second]})

    edge.upstream(play)
    one = await edge.call()
    two = await edge.retry(one, {"elicitation-1": SAID})
    assert list(requests_of(two)) == ["elicitation-2"]
    assert two["result"]["requestState"] != one["result"]["requestState"]
    declined = {"action": "decline"}
    done = await edge.retry(two, {"elicitation-1": SAID, "elicitation-2": declined})
    assert done["result"] == {"content": [SAID, declined]}


@pytest.mark.parametrize("responses", [
    {}, {"wrong": SAID}, {"elicitation-1": 12345}, {"elicitation-1": {"action": "maybe"}}, {"elicitation-1": SAMPLED},
])  # fmt: skip
async def test_what_was_not_brought_in_shape_is_asked_again(edge: Edge, responses: dict[str, Any]) -> None:
    edge.upstream(asks_a_name)
    answer = await edge.call()
    again = await edge.retry(answer, responses)
    assert requests_of(again) == requests_of(answer)
    assert "content" in (await edge.retry(again, {"elicitation-1": SAID}))["result"]


async def test_responses_without_a_state_begin_a_new_call(edge: Edge) -> None:
    transport = edge.upstream(asks_a_name)
    assert requests_of(await edge.call(call_of(inputResponses={"wrong": SAID})))
    assert b"inputResponses" not in transport.opened[0].params


async def test_responses_that_are_none_are_refused(edge: Edge) -> None:
    edge.upstream(asks_a_name)
    for given_ in (None, 7, "x"):
        with pytest.raises(RpcError, match="inputResponses") as refused:
            await edge.call(call_of(inputResponses=given_))
        assert (refused.value.error.code, refused.value.status) == (-32602, 400)


async def test_a_state_serves_nobody_else_and_nothing_else(edge: Edge) -> None:
    edge.upstream(asks_a_name)
    answer = await edge.call(call_of(arguments={"a": 1, "b": 2}))
    given_: dict[str, Any] = {"elicitation-1": SAID}
    for foreign in (
        {"principal": "eve@example.com"}, {"method": "prompts/get"}, {"upstream": {"id": "u2"}},
        {"arguments": {"a": 2}},
        {"requestState": answer["result"]["requestState"] + "-TAMPERED"}, {"requestState": "x" * 10_000},
        {"requestState": 7},
    ):  # fmt: skip
        with pytest.raises(RpcError) as refused:
            await edge.retry(answer, given_, **{"arguments": {"a": 1, "b": 2}} | foreign)
        assert (refused.value.error.code, refused.value.status) == (-32602, 400)
    same = await edge.retry(answer, given_, arguments={"b": 2, "a": 1}, _meta={"progressToken": 9})
    assert "content" in same["result"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.data())
def test_no_changed_state_is_taken(data: st.DataObject) -> None:
    clock = ManualClock()
    states = RequestStates(Sealer(b"secret"), clock)
    request = call_of()
    state = states.seal(request, "edge-1", "h", 60)
    where = data.draw(st.integers(0, len(state) - 1))
    changed = data.draw(
        st.one_of(
            st.text(max_size=300),
            st.sampled_from([state[:where], state[where:], state + "A", state[:where] + "~" + state[where + 1 :]]),
            st.characters().map(lambda c: state[:where] + c + state[where + 1 :]),
        )
    )
    if changed[:-1] == state[:-1] and len(changed) == len(state):  # unused bits of base64
        return
    with pytest.raises(RpcError) as refused:
        states.open(msgspec.Raw(msgspec.json.encode(changed)), request)
    assert refused.value.error.code == -32602


async def test_nobody_comes_back_so_the_call_is_cancelled_and_the_state_says_so(edge: Edge) -> None:
    transport = edge.upstream(asks_a_name)
    answer = await edge.call()
    await edge.clock.until_asleep()
    edge.clock.advance(300)
    async with asyncio.timeout(5):
        await transport.closed.wait()
    assert transport.cancelled == 1
    with pytest.raises(RpcError, match="ask anew"):
        await edge.retry(answer, {"elicitation-1": SAID})
    edge.clock.advance(2)
    with pytest.raises(RpcError, match="has expired"):
        await edge.retry(answer, {"elicitation-1": SAID})


async def test_a_call_that_waits_ends_when_its_token_no_longer_counts(edge: Edge) -> None:
    transport = edge.upstream(asks_a_name)
    counting = {"ada": True}
    answer = await edge.call(replace(call_of(), counts=lambda: counting["ada"]))
    edge.holding.end_revoked()
    assert not transport.closed.is_set()
    counting["ada"] = False
    edge.holding.end_revoked()
    async with asyncio.timeout(5):
        await transport.closed.wait()
    assert transport.cancelled == 1
    with pytest.raises(RpcError, match="ask anew"):
        await edge.retry(answer, {"elicitation-1": SAID})


async def test_a_state_of_a_call_that_is_over_is_told_so(edge: Edge) -> None:
    edge.upstream(asks_a_name)
    answer = await edge.call()
    await edge.retry(answer, {"elicitation-1": SAID})
    with pytest.raises(RpcError, match="is over") as refused:
        await edge.retry(answer, {"elicitation-1": SAID})
    assert refused.value.error.data == {"code": "request_state_gone"}


async def test_two_retries_at_once_do_not_share_a_call(edge: Edge) -> None:
    gate = asyncio.Event()

    async def play(stage: Stage) -> None:
        await stage.ask("elicitation/create", **FORM)
        stage.notify("notifications/progress", progressToken=1, progress=1)
        await gate.wait()
        stage.answer({"content": []})

    edge.upstream(play)
    answer = await edge.call(call_of(_meta={"progressToken": 1}))
    first = asyncio.create_task(edge.retry(answer, {"elicitation-1": SAID}, _meta={"progressToken": 1}))
    await until(lambda: bool(edge.told))
    with pytest.raises(RpcError, match="another request"):
        await edge.retry(answer, {"elicitation-1": SAID})
    gate.set()
    assert (await first)["result"] == {"content": []}


async def test_so_many_calls_wait_and_no_more() -> None:
    edge = Edge(limits={"per_principal": 2, "total": 3})
    transport = edge.upstream(asks_a_name)
    held = [await edge.call(), await edge.call()]
    with pytest.raises(TooManyHeld, match="2 calls"):
        await edge.call()
    assert transport.cancelled == 1
    await edge.call(call_of(principal="eve@example.com"))
    with pytest.raises(TooManyHeld, match="3 calls"):
        await edge.call(call_of(principal="root@example.com"))
    await edge.retry(held[0], {"elicitation-1": SAID})
    held.append(await edge.call())
    await edge.holding.stop()
    assert transport.cancelled == 5
    with pytest.raises(RpcError, match="ask anew"):
        await edge.retry(held[-1], {"elicitation-1": SAID})


async def test_waiting_takes_at_most_half_of_what_may_run_at_an_upstream() -> None:
    edge = Edge(limits={"upstream_concurrency": 100})
    edge.upstream(asks_a_name)
    small: dict[str, Any] = {"limits": Limits(concurrency=4)}
    held = [await edge.call(call_of(upstream=small)), await edge.call(call_of(upstream=small))]
    with pytest.raises(TooManyHeld, match="2 calls at upstream notes"):
        await edge.call(call_of(upstream=small))
    await edge.retry(held[0], {"elicitation-1": SAID})
    assert requests_of(await edge.call(call_of(upstream=small)))
    await edge.holding.stop()


async def test_a_client_that_leaves_ends_a_call_that_does_not_wait(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.notify("notifications/progress", progressToken=1, progress=1)

    transport = edge.upstream(play)
    calling = asyncio.create_task(edge.call())
    await until(lambda: bool(edge.told))
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    assert transport.cancelled == 1


async def test_a_client_that_leaves_a_retry_ends_the_call(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        await stage.ask("elicitation/create", **FORM)
        stage.notify("notifications/progress", progressToken=1, progress=1)

    transport = edge.upstream(play)
    answer = await edge.call()
    retrying = asyncio.create_task(edge.retry(answer, {"elicitation-1": SAID}, _meta={"progressToken": 1}))
    await until(lambda: bool(edge.told))
    retrying.cancel()
    await asyncio.gather(retrying, return_exceptions=True)
    assert transport.cancelled == 1
    with pytest.raises(RpcError, match="is over"):
        await edge.retry(answer, {})


async def test_what_a_client_did_not_declare_is_not_asked_and_a_failure_says_what_was_lacking(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        refusal = await stage.ask("sampling/createMessage", messages=[])
        assert refusal["code"] == -32601
        stage.fail(-32603, refusal["message"])

    edge.upstream(play)
    error = (await edge.call(call_of(capabilities=b'{"elicitation":{}}')))["error"]
    assert (error["code"], error["data"]) == (-32021, {"requiredCapabilities": {"sampling": {}}})


async def test_an_upstream_that_does_without_has_its_result_passed(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        await stage.ask("sampling/createMessage", messages=[])
        stage.answer({"content": [], "isError": True})

    edge.upstream(play)
    assert (await edge.call(call_of(capabilities=b"{}")))["result"] == {"content": [], "isError": True}


@pytest.mark.parametrize(("method", "asked"), [("tools/call", "tasks/list"), ("completion/complete", "roots/list")])
async def test_what_nobody_may_ask_is_refused_to_the_upstream(edge: Edge, method: str, asked: str) -> None:
    async def play(stage: Stage) -> None:
        stage.answer({"code": (await stage.ask(asked))["code"]})

    edge.upstream(play)
    assert (await edge.call(call_of(method=method)))["result"] == {"code": -32601}


async def test_an_upstream_that_asks_without_end_is_asked_back_only_so_much(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        asked = [stage.asked("roots/list") for _ in range(33)]
        refused = await asked[-1]
        assert isinstance(refused.error, msgspec.Raw)

    edge.upstream(play)
    assert len(requests_of(await edge.call())) == 32


async def test_a_question_taken_back_is_not_asked(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.asked("roots/list")
        (taken_back,) = stage.waiting
        stage.notify("notifications/cancelled", requestId=taken_back)
        stage.asked("elicitation/create", **FORM)

    edge.upstream(play)
    assert list(requests_of(await edge.call())) == ["elicitation-2"]


async def test_an_upstream_that_chatters_still_has_its_question_put(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.asked("roots/list")
        while True:
            stage.notify("notifications/progress", progressToken=1, progress=1)
            await asyncio.sleep(0.01)

    edge.upstream(play)
    async with asyncio.timeout(5):
        assert requests_of(await edge.call())


async def test_pings_are_answered_while_the_call_waits(edge: Edge) -> None:
    ponged = asyncio.Event()
    go = asyncio.Event()

    async def play(stage: Stage) -> None:
        asked = stage.asked("elicitation/create", **FORM)
        await go.wait()
        assert await stage.ask("ping") == {}
        ponged.set()
        await asked
        stage.answer({"content": []})

    edge.upstream(play)
    answer = await edge.call()
    go.set()
    async with asyncio.timeout(5):
        await ponged.wait()
    assert "content" in (await edge.retry(answer, {"elicitation-1": SAID}))["result"]


async def test_a_failure_while_the_call_waits_is_told_with_the_retry(edge: Edge) -> None:
    go = asyncio.Event()

    async def play(stage: Stage) -> None:
        stage.asked("elicitation/create", **FORM)
        await go.wait()
        raise UpstreamUnreachable("upstream notes is gone")

    transport = edge.upstream(play)
    answer = await edge.call()
    go.set()
    async with asyncio.timeout(5):
        await transport.closed.wait()
    with pytest.raises(UpstreamUnreachable, match="gone"):
        await edge.retry(answer, {"elicitation-1": SAID})


async def test_an_upstream_that_answered_meanwhile_needs_no_response(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.asked("elicitation/create", **FORM)
        await asyncio.sleep(0.1)
        stage.answer({"content": ["without"]})

    edge.upstream(play)
    answer = await edge.call()
    await until(edge.transport.closed.is_set)
    assert (await edge.retry(answer, {}))["result"] == {"content": ["without"]}


async def test_no_more_than_so_much_waits_to_be_read(edge: Edge) -> None:
    said = 0

    async def play(stage: Stage) -> None:
        nonlocal said
        await stage.ask("elicitation/create", **FORM)
        for said in range(1000):
            stage.notify("notifications/progress", progressToken=1, progress=said)
        stage.answer({"content": []})

    edge.upstream(play)
    answer = await edge.call(call_of(_meta={"progressToken": 1}))
    assert "content" in (await edge.retry(answer, {"elicitation-1": SAID}, _meta={"progressToken": "new"}))["result"]
    assert [told["params"]["progress"] for told in edge.told] == list(range(1000))
    assert {told["params"]["progressToken"] for told in edge.told} == {"new"}


async def test_progress_is_not_told_to_a_retry_that_wants_none(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        await stage.ask("elicitation/create", **FORM)
        stage.notify("notifications/progress", progressToken=1, progress=1)
        stage.answer({"content": []})

    edge.upstream(play)
    await edge.retry(await edge.call(call_of(_meta={"progressToken": 1})), {"elicitation-1": SAID})
    assert edge.told == []


async def logs(stage: Stage) -> None:
    if stage.request.method == "logging/setLevel":
        stage.answer({})
        return
    for level in ("debug", "warning", "error", "strange"):
        stage.notify("notifications/message", level=level, data=level)
    stage.notify("notifications/tools/list_changed")
    stage.answer({"content": []})


async def test_log_messages_come_to_those_who_ask_for_them_from_their_level_on(edge: Edge) -> None:
    transport = edge.upstream(logs)
    logging: dict[str, Any] = {"capabilities": msgspec.Raw(b'{"logging":{}}')}
    await edge.call(call_of(upstream=logging))
    assert edge.told == []
    for _ in range(2):
        edge.told.clear()
        await edge.call(call_of(upstream=logging, _meta={META_LOG_LEVEL: "warning", "x": 1}))
        assert [told["params"]["data"] for told in edge.told] == ["warning", "error"]
    assert [each.method for each in transport.opened] == [
        "tools/call", "logging/setLevel", "tools/call", "tools/call",
    ]  # fmt: skip
    assert msgspec.json.decode(transport.opened[1].params) == {"level": "warning"}
    assert msgspec.json.decode(transport.opened[2].params)["_meta"] == {"x": 1}
    plain, setting, levelled, _ = (each.session_key for each in transport.opened)
    assert setting == levelled != plain


async def test_an_upstream_that_does_not_log_is_not_told_a_level(edge: Edge) -> None:
    transport = edge.upstream(logs)
    await edge.call(call_of(_meta={META_LOG_LEVEL: "debug"}))
    assert [each.method for each in transport.opened] == ["tools/call"]


async def test_a_level_that_cannot_be_set_hinders_no_call(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        if stage.request.method == "logging/setLevel":
            raise UpstreamMisbehaved("upstream notes does not want to")
        stage.answer({"content": []})

    edge.upstream(play)
    logging: dict[str, Any] = {"capabilities": msgspec.Raw(b'{"logging":{}}')}
    assert "result" in await edge.call(call_of(upstream=logging, _meta={META_LOG_LEVEL: "debug"}))


async def test_a_resource_gets_the_members_that_the_stateless_era_wants(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.answer(b'{"contents":[] , "ttlMs":7}')

    edge.upstream(play)
    assert (await edge.call(call_of(method="resources/read")))["result"] == {
        "contents": [], "ttlMs": 7, "cacheScope": "private",
    }  # fmt: skip


async def test_a_resource_that_is_not_there_is_told_in_the_words_of_the_era(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.fail(-32002, "Resource not found", {"uri": "a:b"})

    edge.upstream(play)
    error = (await edge.call(call_of(method="resources/read")))["error"]
    assert error == {"code": -32602, "message": "Resource not found", "data": {"uri": "a:b"}}


async def needs_a_page(stage: Stage) -> None:
    page = {"mode": "url", "message": "Sign in", "url": "https://x.example/in", "elicitationId": "e1"}
    stage.fail(-32042, "needs a page", {"elicitations": [page]})


async def test_pages_that_must_be_opened_first_are_asked_for(edge: Edge) -> None:
    edge.upstream(needs_a_page)
    answer = await edge.call()
    params = {"mode": "url", "message": "Sign in", "url": "https://x.example/in"}
    assert requests_of(answer) == {"elicitation-1": {"method": "elicitation/create", "params": params}}
    assert "requestState" not in answer["result"]
    declined = await edge.call(call_of(inputResponses={"elicitation-1": {"action": "decline"}}))
    assert (declined["error"]["code"], "declined" in declined["error"]["message"]) == (-32603, True)
    unable = await edge.call(call_of(capabilities=b'{"elicitation":{}}'))
    assert unable["error"]["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}


async def test_what_is_no_message_is_the_upstreams_fault(edge: Edge) -> None:
    async def play(stage: Stage) -> None:
        stage.coming.put_nowait(b"no JSON")

    edge.upstream(play)
    with pytest.raises(UpstreamMisbehaved, match="not JSON-RPC"):
        await edge.call()
