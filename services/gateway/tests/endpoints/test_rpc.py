"""Plain JSON-RPC: no handshake, no headers, one response."""

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.audit import CallIntent, CallOutcome
from interlock_gateway.testing.asking import Answer, send
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import result_of, upstream_at


async def rpc(world: EdgeWorld, body: bytes, *, token: str | None = "", method: str = "POST") -> Answer:
    return await send(
        world.rpc(), "/rpc", body, method=method,
        token=world.signer.token() if token == "" else token,
    )  # fmt: skip


def request(method: str, **params: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": "a", "method": method, "params": params})


@pytest.fixture
async def _notes(world: EdgeWorld, serve: Any) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\n\n')
        await stream.write(b"data: " + result_of(asked["id"]) + b"\n\n")
        return stream

    world.register(upstream_at(await serve(answer)))


@pytest.mark.usefixtures("_notes")
async def test_a_call_needs_nothing_but_a_token_and_is_recorded_as_any_other(world: EdgeWorld) -> None:
    answer = await rpc(world, request("tools/call", name="notes-echo", arguments={}))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["id"] == "a"
    assert answer.json()["result"]["content"] == [{"type": "text", "text": "done"}]
    (intent,), (outcome,) = world.audit.of(CallIntent), world.audit.of(CallOutcome)
    assert answer.headers["interlock-audit"] == intent.id
    assert outcome.outcome == "ok"


@pytest.mark.usefixtures("_notes")
async def test_lists_and_discovery_are_answered(world: EdgeWorld) -> None:
    assert [t["name"] for t in (await rpc(world, request("tools/list"))).json()["result"]["tools"]] == ["notes-echo"]
    assert "supportedVersions" in (await rpc(world, request("server/discover"))).json()["result"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"[]", 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"nonsense"}', 404, -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"none"}}', 200, -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}', 400, -32602),
    ],
)
async def test_what_is_no_good_request_is_told_so(world: EdgeWorld, body: bytes, status: int, code: int) -> None:
    answer = await rpc(world, body)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


async def test_a_notification_is_taken_and_other_verbs_are_not(world: EdgeWorld) -> None:
    assert (await rpc(world, b'{"jsonrpc":"2.0","method":"notifications/x"}')).status == 204
    assert (await rpc(world, b"", method="GET")).status == 405


async def test_nobody_calls_without_a_token(world: EdgeWorld) -> None:
    answer = await rpc(world, request("tools/list"), token=None)
    assert answer.status == 401
    named = 'resource_metadata="https://gateway.example/.well-known/oauth-protected-resource/mcp"'
    assert named in answer.headers["www-authenticate"]  # the metadata of a path of its own would not exist
