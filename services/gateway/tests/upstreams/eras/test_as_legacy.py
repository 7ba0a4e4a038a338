"""A client of the handshake era at an upstream of the stateless one."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.testing.scripted import FORM, SAID, Scripted, Stage, call_of
from interlock_gateway.upstreams.eras.as_legacy import as_legacy
from interlock_gateway.upstreams.transport import UpstreamRequest

ROOTS = {"roots": [{"uri": "file:///home"}]}


def needs(state: Any = "s1", **requests: Any) -> dict[str, Any]:
    said = {"resultType": "input_required", "inputRequests": requests}
    return said | ({} if state is None else {"requestState": state})


def form(**params: Any) -> dict[str, Any]:
    return {"method": "elicitation/create", "params": FORM | params}


class Client:
    """Answers what it is asked, by method; ``told`` is everything that came."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"elicitation/create": SAID, "roots/list": ROOTS} | answers
        self.asked: list[tuple[str, Any]] = []
        self.told: list[dict[str, Any]] = []

    async def call(self, transport: Scripted, request: UpstreamRequest | None = None) -> dict[str, Any]:
        async with as_legacy(transport.open, request or call_of("modern")) as exchange:
            async for message in exchange:
                self.told.append(msgspec.json.decode(message))
                envelope = jsonrpc.parse(message)
                if envelope.method is None:
                    continue
                if not isinstance(envelope.id, msgspec.UnsetType):
                    self.asked.append((envelope.method, self.told[-1].get("params")))
                    await exchange.answer(self._answer(envelope.id, envelope.method))
        return self.told[-1]

    def _answer(self, request_id: Any, method: str) -> bytes:
        answer = self.answers[method]
        if isinstance(answer, jsonrpc.ErrorObject):
            return jsonrpc.failure(request_id, answer)
        return jsonrpc.answer(request_id, msgspec.json.encode(answer))


async def twice(stage: Stage) -> None:
    if "inputResponses" not in stage.params:
        stage.notify("notifications/progress", progress=1)
        stage.answer(needs(name=form(), where={"method": "roots/list"}))
    else:
        stage.answer({"resultType": "complete", "content": []})


async def test_what_is_needed_is_asked_and_the_request_sent_again_with_it() -> None:
    transport, client = Scripted(twice), Client()
    answer = await client.call(transport, call_of("modern", arguments={"big": 12345678901234567890}))
    assert client.asked == [("elicitation/create", FORM), ("roots/list", {})]
    assert [told.get("method") for told in client.told] == [
        "notifications/progress", "elicitation/create", "roots/list", None,
    ]  # fmt: skip
    assert answer["result"] == {"content": []}
    again = msgspec.json.decode(transport.opened[1].params)
    assert again["inputResponses"] == {"name": SAID, "where": ROOTS}
    assert again["requestState"] == "s1"
    assert b"12345678901234567890" in transport.opened[1].params
    assert transport.opened[1].name == "echo"


async def test_rounds_go_on_with_the_state_of_the_round_before() -> None:
    async def play(stage: Stage) -> None:
        match stage.params.get("requestState"):
            case None:
                stage.answer(needs("one", first=form()))
            case "one":
                assert stage.params["inputResponses"] == {"first": SAID}
                stage.answer(needs("two", second=form()))
            case _:
                assert (stage.params["requestState"], stage.params["inputResponses"]) == ("two", {"second": SAID})
                stage.answer(b'{"content": [ ]}')

    client = Client()
    answer = await client.call(Scripted(play))
    assert answer["result"] == {"content": []}
    assert len(client.asked) == 2


async def test_a_request_without_a_state_is_repeated_without_one() -> None:
    async def play(stage: Stage) -> None:
        assert "requestState" not in stage.params
        stage.answer(needs(None, name=form()) if "inputResponses" not in stage.params else {"content": []})

    assert "result" in await Client().call(Scripted(play))


async def test_a_state_alone_wants_time_and_asks_nobody() -> None:
    async def play(stage: Stage) -> None:
        stage.answer({"content": []} if "requestState" in stage.params else needs("later"))

    client = Client()
    assert "result" in await client.call(Scripted(play))
    assert client.asked == []


async def test_an_upstream_that_asks_over_and_over_is_stopped() -> None:
    async def play(stage: Stage) -> None:
        stage.answer(needs(name=form()))

    client = Client()
    with pytest.raises(UpstreamMisbehaved, match="20 times"):
        await client.call(Scripted(play))
    assert len(client.asked) == 20


@pytest.mark.parametrize("result", [
    {"resultType": "input_required"},
    {"resultType": "input_required", "inputRequests": "who?"},
    {"resultType": "input_required", "inputRequests": {"k": {"method": "files/delete"}}},
    {"resultType": "input_required", "inputRequests": {str(n): {"method": "roots/list"} for n in range(33)}},
])  # fmt: skip
async def test_what_fits_no_protocol_is_the_upstreams_fault(result: dict[str, Any]) -> None:
    async def play(stage: Stage) -> None:
        stage.answer(result)

    with pytest.raises(UpstreamMisbehaved):
        await Client().call(Scripted(play))


@pytest.mark.parametrize(("capabilities", "asked", "lacks"), [
    (b"{}", form(), {"elicitation": {"form": {}}}),
    (b'{"elicitation":{"form":{}}}', form(mode="url", url="https://x.example"), {"elicitation": {"url": {}}}),
    (b'{"elicitation":{}}', {"method": "sampling/createMessage"}, {"sampling": {}}),
    (b'{"sampling":{}}', {"method": "sampling/createMessage", "params": {"tools": []}}, {"sampling": {"tools": {}}}),
    (b'{"sampling":7}', {"method": "roots/list"}, {"roots": {}}),
])  # fmt: skip
async def test_what_the_client_did_not_declare_is_named_and_not_asked(
    capabilities: bytes, asked: dict[str, Any], lacks: dict[str, Any]
) -> None:
    async def play(stage: Stage) -> None:
        stage.answer(needs(it=asked))

    client = Client()
    answer = await client.call(Scripted(play), replace(call_of("modern"), capabilities=capabilities))
    assert client.asked == []
    assert answer["error"]["code"] == -32600
    assert answer["error"]["data"]["requiredCapabilities"] == lacks


async def test_a_client_that_does_not_answer_ends_the_call_with_its_reason() -> None:
    rejected = jsonrpc.ErrorObject(-1, "User rejected sampling request")
    transport = Scripted(twice)
    answer = await Client(**{"elicitation/create": rejected}).call(transport)
    assert answer["error"]["data"] == {"error": {"code": -1, "message": "User rejected sampling request"}}
    assert "elicitation/create" in answer["error"]["message"]
    assert len(transport.opened) == 1


async def test_a_user_who_declines_is_an_answer() -> None:
    transport = Scripted(twice)
    await Client(**{"elicitation/create": {"action": "decline"}}).call(transport)
    assert msgspec.json.decode(transport.opened[1].params)["inputResponses"]["name"] == {"action": "decline"}


async def test_a_page_gets_the_id_that_the_handshake_era_wants() -> None:
    async def play(stage: Stage) -> None:
        page = form(mode="url", url="https://x.example")
        stage.answer(needs(page=page) if "inputResponses" not in stage.params else {"content": []})

    client = Client()
    await client.call(Scripted(play))
    assert client.asked[0][1]["elicitationId"].startswith("page-")
    assert client.asked[0][1]["url"] == "https://x.example"


async def test_what_only_the_stateless_era_has_is_taken_off_and_nothing_else() -> None:
    async def play(stage: Stage) -> None:
        stage.answer(
            b'{"ttlMs":5,"contents":[{"uri":"a:b","n":1.0}],"resultType":"complete","cacheScope":"public",'
            b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x"},"mine":1e2},"ours":[1.50]}'
        )

    transport = Scripted(play)
    async with as_legacy(transport.open, call_of("modern", "resources/read")) as exchange:
        (message,) = [message async for message in exchange]
    assert bytes(jsonrpc.parse(message).result or b"") == (  # pyright: ignore[reportArgumentType]
        b'{"contents":[{"uri":"a:b","n":1.0}],"_meta":{"mine":1e2},"ours":[1.50]}'
    )


async def test_a_result_type_that_the_era_does_not_have_is_refused_in_words() -> None:
    async def play(stage: Stage) -> None:
        stage.answer({"resultType": "task", "taskId": "t"})

    error = (await Client().call(Scripted(play)))["error"]
    assert (error["code"], '"task"' in error["message"]) == (-32603, True)


@pytest.mark.parametrize(("method", "code", "becomes"), [
    ("resources/read", -32602, -32002),
    ("tools/call", -32602, -32602),
    ("tools/call", -32021, -32600),
    ("tools/call", -32020, -32603),
    ("tools/call", -32022, -32603),
    ("tools/call", 7, 7),
])  # fmt: skip
async def test_codes_become_those_of_the_era(method: str, code: int, becomes: int) -> None:
    async def play(stage: Stage) -> None:
        stage.fail(code, "why", {"requiredCapabilities": {"sampling": {}}})

    error = (await Client().call(Scripted(play), call_of("modern", method)))["error"]
    assert error == {"code": becomes, "message": "why", "data": {"requiredCapabilities": {"sampling": {}}}}


async def test_leaving_early_cancels_at_the_upstream() -> None:
    async def play(stage: Stage) -> None:
        stage.notify("notifications/progress", progress=1)

    transport = Scripted(play)
    async with as_legacy(transport.open, call_of("modern")) as exchange:
        async for _ in exchange:
            break
    assert transport.cancelled == 1


async def test_failures_of_the_way_come_as_they_are() -> None:
    async def play(stage: Stage) -> None:
        del stage
        raise UpstreamUnreachable("upstream notes is away")

    with pytest.raises(UpstreamUnreachable):
        await Client().call(Scripted(play))


async def test_requests_of_an_upstream_whose_era_knows_none_are_its_fault() -> None:
    async def play(stage: Stage) -> None:
        stage.asked("roots/list")

    with pytest.raises(UpstreamMisbehaved, match="does not know"):
        await Client().call(Scripted(play))
