import asyncio
import json
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.audit import CallIntent, CallOutcome, Refusal
from interlock_common.messages.catalog import Definition, VirtualServer
from interlock_common.messages.plugins import Binding, HookVerdict, PluginVerdict
from interlock_common.testing.waiting import until
from interlock_gateway.testing.asking import Answer, ask, modern_call
from interlock_gateway.testing.callers import EVE, ROOT
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import RESULT, result_of, upstream_at


class Notes:
    """A modern upstream that notes what it was asked; ``gate`` holds its answer back."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.result = RESULT
        self.answer: bytes | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.gone = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        self.asked.append(message)
        self.headers.append({k.lower(): v for k, v in request.headers.items()})
        await self.gate.wait()
        body = self.answer if self.answer is not None else result_of(message["id"], self.result)
        return web.Response(body=body, content_type="application/json")


@pytest.fixture
async def notes(world: EdgeWorld, serve: Any) -> Notes:
    upstream = Notes()
    world.register(upstream_at(await serve(upstream)))
    return upstream


async def call(world: EdgeWorld, principal: str = "ada@example.com", **arguments: Any) -> Answer:
    headers, body = modern_call(arguments={"text": "hello"} | arguments)
    return await ask(world.endpoint(), body, headers, token=world.signer.token(principal))


async def test_a_call_is_recorded_sent_and_answered(world: EdgeWorld, notes: Notes) -> None:
    answer = await call(world)
    (intent,), (outcome,) = world.audit.of(CallIntent), world.audit.of(CallOutcome)
    assert answer.status == 200
    assert answer.headers["interlock-audit"] == intent.id
    assert answer.json()["id"] == 7
    assert answer.json()["result"]["_meta"] == {"dev.interlock/audit": intent.id}
    assert (intent.principal, intent.tool, intent.upstream, intent.peer) == (
        "ada@example.com", "echo", "notes", "192.0.2.1:5",
    )  # fmt: skip
    assert "hello" not in msgspec.json.encode(world.audit.records).decode()
    assert (outcome.intent, outcome.outcome) == (intent.id, "ok")
    assert notes.asked[0]["params"]["name"] == "echo"
    assert notes.asked[0]["params"]["arguments"] == {"text": "hello"}
    assert "authorization" not in notes.headers[0]


async def test_without_a_durable_intent_nothing_leaves(world: EdgeWorld, notes: Notes) -> None:
    world.audit.away = True
    answer = await call(world)
    assert (answer.status, answer.json()["error"]["data"]["code"]) == (503, "unavailable")
    assert not notes.asked


async def test_plugins_that_do_not_answer_deny_where_they_must_see_the_call(world: EdgeWorld, notes: Notes) -> None:
    world.bindings.items["tool_pre_invoke"] = Binding("tool_pre_invoke", ("guard",))
    answer = await call(world)
    assert (answer.status, answer.json()["error"]["code"]) == (503, -32003)
    assert not notes.asked
    assert world.audit.of(CallOutcome)[0].outcome == "denied"


async def test_plugins_that_do_not_answer_let_pass_what_may_go_on(world: EdgeWorld, notes: Notes) -> None:
    for hook in ("tool_pre_invoke", "tool_post_invoke"):
        world.bindings.items[hook] = Binding(hook, ("watch",), on_failure="continue")
    assert (await call(world)).status == 200
    assert notes.asked
    assert world.audit.of(CallOutcome)[0].verdicts == ("tool_pre_invoke:unanswered", "tool_post_invoke:unanswered")


async def test_plugins_that_answer_with_no_verdict_do_not_answer(
    world: EdgeWorld, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(*_: object) -> bytes:
        return b'{"action":"perhaps"}'

    monkeypatch.setattr(world.plugins, "request_raw", nonsense)
    world.bindings.items["tool_pre_invoke"] = Binding("tool_pre_invoke", ("guard",))
    answer = await call(world)
    assert (answer.status, answer.json()["error"]["code"]) == (503, -32003)
    assert not notes.asked


async def test_a_denial_says_why_and_nothing_leaves(world: EdgeWorld, notes: Notes) -> None:
    world.bindings.items["tool_pre_invoke"] = Binding("tool_pre_invoke", ("guard",))
    said = (PluginVerdict("guard", "deny"),)
    world.plugins.verdict = HookVerdict("deny", code="words", reason="a forbidden word", plugin="guard", verdicts=said)
    error = (await call(world)).json()["error"]
    assert error["code"] == -32003
    assert error["data"] == {"code": "words", "reason": "a forbidden word", "plugin": "guard"}
    assert not notes.asked
    assert world.audit.of(CallOutcome)[0].verdicts == ("guard:deny",)


async def test_a_replacement_reaches_the_upstream_and_the_client(world: EdgeWorld, notes: Notes) -> None:
    world.bindings.items["tool_pre_invoke"] = Binding("tool_pre_invoke", ("redact",), tools=("echo",))
    world.plugins.verdict = HookVerdict("replace", payload=msgspec.Raw(b'{"text":"***","n":1.0}'))
    await call(world)
    assert notes.asked[0]["params"]["arguments"] == {"text": "***", "n": 1.0}
    assert bytes(world.plugins.asked[0].payload) == b'{"text":"hello"}'
    world.bindings.items = {"tool_post_invoke": Binding("tool_post_invoke", ("redact",))}
    world.plugins.verdict = HookVerdict("replace", payload=msgspec.Raw(b'{"content":[]}'))
    assert (await call(world)).json()["result"]["content"] == []


MARKED = b'{"name":"echo","inputSchema":{"properties":{"text":{"type":"string","x-mcp-header":"Text"}}}}'


async def test_what_a_plugin_takes_out_of_the_arguments_leaves_in_no_header(world: EdgeWorld, notes: Notes) -> None:
    upstream = world.catalog.upstreams["u1"]
    marked = msgspec.structs.replace(upstream.tools[0], definition=msgspec.Raw(MARKED))
    world.register(msgspec.structs.replace(upstream, tools=(marked,)))
    headers, body = modern_call(arguments={"text": "hello"})
    headers["mcp-param-text"] = "hello"
    token = world.signer.token("ada@example.com")
    await ask(world.endpoint(), body, headers, token=token)
    assert notes.headers[0]["mcp-param-text"] == "hello"
    world.bindings.items["tool_pre_invoke"] = Binding("tool_pre_invoke", ("redact",))
    world.plugins.verdict = HookVerdict("replace", payload=msgspec.Raw(b'{"text":"***"}'))
    await ask(world.endpoint(), body, headers, token=token)
    assert notes.headers[1]["mcp-param-text"] == "***"
    headers["mcp-param-text"] = "other"
    assert (await ask(world.endpoint(), body, headers, token=token)).json()["error"]["code"] == -32020


async def test_a_chain_of_other_tools_is_not_asked(world: EdgeWorld, notes: Notes) -> None:
    world.bindings.items["tool_pre_invoke"] = Binding("tool_pre_invoke", ("guard",), tools=("add",))
    assert (await call(world)).status == 200
    assert notes.asked
    assert not world.plugins.asked


async def test_a_tool_one_may_not_see_is_refused_as_one_that_does_not_exist(world: EdgeWorld, notes: Notes) -> None:
    upstream = world.catalog.upstreams["u1"]
    answers: list[tuple[int, dict[str, str], bytes]] = []
    for visibility in ("private", "team"):
        world.register(msgspec.structs.replace(upstream, visibility=visibility, team="blue"))
        answer = await call(world, EVE)
        answers.append((answer.status, answer.headers, answer.body))
    world.catalog.change("upstream.u1", None)
    missing = await call(world, EVE)
    answers.append((missing.status, missing.headers, missing.body))
    assert answers[0] == answers[1] == answers[2]
    assert b"Unknown tool: notes-echo" in missing.body
    assert not notes.asked


async def test_a_server_one_may_not_see_answers_as_one_that_does_not_exist(world: EdgeWorld) -> None:
    world.serve(VirtualServer("s1", "s", ROOT, visibility="private"))
    for method, name in (("tools/list", None), ("tools/call", "echo")):
        headers, body = modern_call(method, name)
        hidden, missing = [
            await ask(world.endpoint(), body, headers, token=world.signer.token(), server_id=server)
            for server in ("s1", "s2")
        ]
        assert (hidden.status, missing.status) == (404, 404)
        assert hidden.body.replace(b"s1", b"s2") == missing.body


async def test_a_call_needs_its_permission_and_says_so(world: EdgeWorld, notes: Notes) -> None:
    headers, body = modern_call()
    token = world.signer.token(scopes={"permissions": ["tools.read"]})
    answer = await ask(world.endpoint(), body, headers, token=token)
    assert answer.status == 403
    assert 'error="insufficient_scope", scope="tools.execute"' in answer.headers["www-authenticate"]
    assert not notes.asked


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"nonsense", "upstream notes sent what is not JSON-RPC"),
        (b"[]", "upstream notes sent what is not JSON-RPC"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}', "upstream notes sent what is not JSON-RPC"),
        (b'{"jsonrpc":"2.0","id":1}', "upstream notes answered without a result"),
        (b'{"jsonrpc":"2.0","id":1,"error":null}', "upstream notes answered without a result"),
    ],
)
async def test_an_upstream_that_lies_is_named(world: EdgeWorld, notes: Notes, said: bytes, words: str) -> None:
    notes.answer = said
    answer = await call(world)
    assert (answer.status, answer.json()["error"]["data"]["code"]) == (502, "upstream_misbehaved")
    assert words in answer.json()["error"]["message"]
    assert world.audit.of(CallOutcome)[0].outcome == "failed"


async def test_an_error_of_the_upstream_passes_as_it_was_written(world: EdgeWorld, notes: Notes) -> None:
    notes.answer = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"\\u00e9","data":[1.0]}}'
    answer = await call(world)
    assert answer.body == b'{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"\\u00e9","data":[1.0]}}'
    assert world.audit.of(CallOutcome)[0].outcome == "tool_error"


async def test_a_revocation_ends_the_call_that_runs(world: EdgeWorld, notes: Notes) -> None:
    notes.gate.clear()
    running = asyncio.create_task(call(world))
    await until(lambda: bool(notes.asked))
    world.revoke()
    answer = await asyncio.wait_for(running, 5)
    assert (answer.status, answer.json()["error"]["data"]["code"]) == (401, "token_revoked")
    assert "resource_metadata=" in answer.headers["www-authenticate"]
    assert world.audit.of(CallOutcome)[0].outcome == "revoked"
    notes.gate.set()


async def test_a_revocation_while_the_intent_is_written_stops_the_call(world: EdgeWorld, notes: Notes) -> None:
    async def revoke_meanwhile() -> None:
        world.revoke()
        await asyncio.sleep(0)

    world.audit.before_ack = revoke_meanwhile
    answer = await call(world)
    assert (answer.status, answer.json()["error"]["data"]["code"]) == (401, "token_revoked")
    assert not notes.asked


async def test_a_refusal_repeats_little_of_what_was_sent(world: EdgeWorld) -> None:
    headers, body = modern_call(name="x" * 50_000)
    await ask(world.endpoint(), body, headers, token=world.signer.token())
    (refusal,) = world.audit.of(Refusal)
    assert len(msgspec.json.encode(refusal)) < 2_000


async def test_a_resource_of_a_template_is_read_and_recorded_under_the_uri_its_upstream_knows(
    world: EdgeWorld, notes: Notes
) -> None:
    template = Definition("test://t/{id}", msgspec.Raw(b'{"uriTemplate":"test://t/{id}","name":"t"}'), "sha256:t")
    world.register(msgspec.structs.replace(world.catalog.upstreams["u1"], templates=(template,)))
    notes.result = b'{"contents":[{"uri":"test://t/7","text":"seven"}]}'
    headers, body = modern_call("resources/read", None, uri="notes+test://t/7")
    headers["mcp-name"] = "notes+test://t/7"
    answer = await ask(world.endpoint(), body, headers, token=world.signer.token())
    assert answer.json()["result"]["contents"] == [{"uri": "notes+test://t/7", "text": "seven"}]
    assert notes.asked[0]["params"]["uri"] == notes.headers[0]["mcp-name"] == "test://t/7"
    (intent,) = world.audit.of(CallIntent)
    assert (intent.method, intent.tool, intent.definition) == ("resources/read", "test://t/7", "sha256:t")


async def test_a_definition_in_quarantine_is_refused_and_its_upstream_is_not_called(
    world: EdgeWorld, notes: Notes
) -> None:
    upstream = world.catalog.upstreams["u1"]
    changed = msgspec.structs.replace(upstream.tools[0], standing="quarantined")
    world.register(msgspec.structs.replace(upstream, tools=(changed,)))
    answer = await call(world)
    assert answer.json()["error"]["data"]["code"] == "definition_quarantined"
    assert not notes.asked


async def test_a_list_that_changed_is_passed_on_to_the_catalog_and_not_to_the_caller(
    world: EdgeWorld, serve: Any
) -> None:
    changed = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'

    async def announce(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"data: " + changed + b"\n\ndata: " + result_of(asked["id"]) + b"\n\n")
        return stream

    world.register(upstream_at(await serve(announce)))
    answer = await call(world)
    assert answer.json()["result"]["content"]
    said = changed[:-1] + b',"params":{}}'  # as the edge announces it, whatever its words were
    assert world.said == [("u1", said)]


async def test_progress_reaches_only_who_asked_for_it(world: EdgeWorld, serve: Any) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        message = json.loads(await request.read())
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for said in ("progress", "message"):
            params = b'{"progressToken":"p","progress":1,"level":"info","data":1}'
            await stream.write(b'data: {"jsonrpc":"2.0","method":"notifications/%s",' % said.encode())
            await stream.write(b'"params":%s}\n\n' % params)
        await stream.write(b"data: " + result_of(message["id"]) + b"\n\n")
        return stream

    world.register(upstream_at(await serve(answer)))
    assert (await call(world)).body.count(b"notifications/") == 1
    headers, body = modern_call(_meta={"progressToken": "p"})
    told = await ask(world.endpoint(), body, headers, token=world.signer.token())
    assert told.body.count(b"notifications/progress") == 1
