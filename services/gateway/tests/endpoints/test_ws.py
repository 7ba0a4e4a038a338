"""MCP over a WebSocket, with a real server and a real client."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.catalog import VirtualServer
from interlock_common.messages.gateway import Session
from interlock_common.testing.waiting import until
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints import ws_connection
from interlock_gateway.handshake import Initialize
from interlock_gateway.revisions import META_CAPABILITIES, META_VERSION, MODERN
from interlock_gateway.server import Router, listen, make_server
from interlock_gateway.sessions.registry import OpenSession, Sessions
from interlock_gateway.testing.callers import ROOT
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import result_of, upstream_at

META: dict[str, Any] = {META_VERSION: MODERN, META_CAPABILITIES: {}, "progressToken": "p"}
HELLO: dict[str, Any] = {
    "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "c"},
}  # fmt: skip


class MemorySessions:
    """Sessions without a bus."""

    def __init__(self) -> None:
        self.records: dict[str, Session] = {}
        self.touched: list[str] = []

    async def open(self, caller: Caller, asked: Initialize, server_id: str | None) -> OpenSession:
        record = Session(caller.principal, asked.version, 0, server_id, asked.capabilities, asked.client_info)
        self.records["k"] = record
        return OpenSession("id", "k", record)

    async def find(self, *_: object) -> OpenSession:
        return OpenSession("id", "k", self.records["k"])

    async def update(self, key: str, change: Any) -> None:
        self.records[key] = change(self.records[key])

    def touch(self, key: str) -> None:
        self.touched.append(key)

    async def end(self, session: OpenSession) -> None:
        del self.records[session.key]

    def changed(self, key: str, record: Session | None) -> None:
        del key, record


class Socket:
    """A client's end of the connection."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.last = 0

    async def say(self, method: str, **params: Any) -> int:
        self.last += 1
        await self.ws.send_json({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params})
        return self.last

    async def hear(self) -> dict[str, Any]:
        return json.loads(await self.ws.receive_str(timeout=5))

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        await self.say(method, **params)
        return await self.hear()


@pytest.fixture
async def address(world: EdgeWorld) -> AsyncGenerator[str]:
    world.sessions = cast("Sessions", MemorySessions())
    world.subscriptions._sessions = world.sessions  # pyright: ignore[reportPrivateUsage]
    world.traffic._sessions = world.sessions  # pyright: ignore[reportPrivateUsage]

    async def no_rest(_scope: object, _receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": ()})
        await send({"type": "http.response.body", "body": b""})

    listener = listen("127.0.0.1", 0)
    server = make_server(Router(world.endpoints(), no_rest))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await task
    listener.close()


@asynccontextmanager
async def connected(world: EdgeWorld, address: str, path: str = "/ws", **headers: str) -> AsyncGenerator[Socket]:
    sent = {"Authorization": f"Bearer {world.signer.token(teams=['red'])}"} | headers
    async with aiohttp.ClientSession() as http, http.ws_connect(address + path, headers=sent, protocols=["mcp"]) as ws:
        yield Socket(ws)


@pytest.fixture
async def upstream(world: EdgeWorld, serve: Any) -> asyncio.Event:
    """Registers one whose tool ``echo`` answers when the event is set; tells when it lost its caller."""
    gate = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}\n\n')
        await gate.wait()
        await stream.write(b"data: " + result_of(asked["id"]) + b"\n\n")
        return stream

    world.register(upstream_at(await serve(answer)))
    return gate


async def test_a_stateless_request_streams_and_is_answered(
    world: EdgeWorld, address: str, upstream: asyncio.Event
) -> None:
    async with connected(world, address) as socket:
        assert socket.ws.protocol == "mcp"
        await socket.say("tools/call", name="notes-echo", _meta=META)
        assert (await socket.hear())["method"] == "notifications/progress"
        upstream.set()
        answer = await socket.hear()
        assert (answer["id"], answer["result"]["resultType"]) == (1, "complete")


async def test_requests_run_side_by_side_and_one_can_be_cancelled(
    world: EdgeWorld, address: str, upstream: asyncio.Event
) -> None:
    async with connected(world, address) as socket:
        slow = await socket.say("tools/call", name="notes-echo", _meta=META)
        await socket.hear()
        assert (await socket.ask("tools/list", _meta=META))["result"]["tools"]
        await socket.ws.send_json(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": slow}}
        )
        await until(lambda: [each.outcome for each in world.audit.records if hasattr(each, "outcome")] == ["cancelled"])
        assert (await socket.ask("tools/list", _meta=META))["id"] == 3
        upstream.set()


async def test_one_request_too_many_is_refused_and_holds_up_nothing(
    world: EdgeWorld, address: str, upstream: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock_gateway.endpoints.ws_connection._MAX_RUNNING", 2)
    async with connected(world, address) as socket:
        running = [await socket.say("tools/call", name="notes-echo", _meta=META) for _ in range(2)]
        assert {(await socket.hear())["method"] for _ in running} == {"notifications/progress"}
        refused = await socket.ask("tools/list", _meta=META)
        assert (refused["id"], refused["error"]["data"]["code"]) == (3, "too_many_requests")
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": running[0]}}
        await socket.ws.send_json(cancel)
        await until(lambda: any(getattr(each, "outcome", "") == "cancelled" for each in world.audit.records))
        assert "result" in await socket.ask("tools/list", _meta=META)
        upstream.set()
        assert (await socket.hear())["id"] == running[1]


async def test_an_id_that_is_in_use_names_no_second_request(
    world: EdgeWorld, address: str, upstream: asyncio.Event
) -> None:
    async with connected(world, address) as socket:
        await socket.say("tools/call", name="notes-echo", _meta=META)
        await socket.hear()
        socket.last -= 1
        assert (await socket.ask("tools/list", _meta=META))["error"]["code"] == -32600
        upstream.set()
        assert (await socket.hear())["result"]


async def test_a_session_is_the_connection_and_hears_of_what_changes(world: EdgeWorld, address: str) -> None:
    async with connected(world, address) as socket:
        assert (await socket.ask("tools/list"))["error"]["code"] == -32600
        assert (await socket.ask("initialize", **HELLO))["result"]["serverInfo"]["name"] == "interlock"
        assert (await socket.ask("initialize", **HELLO))["error"]["code"] == -32600
        assert (await socket.ask("logging/setLevel", level="debug"))["result"] == {}
        assert (await socket.ask("ping"))["result"] == {}
        world.register(upstream_at("http://x/"))
        assert (await socket.hear())["method"] == "notifications/tools/list_changed"
        sessions = cast("MemorySessions", world.sessions)
        assert sessions.records["k"].log_level == "debug"
    await until(lambda: not sessions.records)


async def test_what_an_upstream_asks_its_client_answers(world: EdgeWorld, address: str, serve: Any) -> None:
    answers: asyncio.Queue[Any] = asyncio.Queue()

    async def elicit(request: web.Request) -> web.StreamResponse:
        said = json.loads(await request.read() or b"{}")
        if said.get("method") == "initialize":
            result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "u", "version": "1"}}
            return web.json_response({"jsonrpc": "2.0", "id": said["id"], "result": result})
        if "method" not in said or "id" not in said:
            answers.put_nowait(said)
            return web.Response(status=202)
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b'data: {"jsonrpc":"2.0","id":"u7","method":"elicitation/create","params":{"m":1}}\n\n')
        while "result" not in (answer := await answers.get()):
            pass
        result = msgspec.json.encode({"content": [], "structuredContent": answer})
        await stream.write(b"data: " + result_of(said["id"], result) + b"\n\n")
        return stream

    world.register(upstream_at(await serve(elicit), era="legacy", protocol_version="2025-11-25"))
    async with connected(world, address) as socket:
        await socket.ask("initialize", **HELLO)
        await socket.say("tools/call", name="notes-echo")
        question = await socket.hear()
        assert (question["method"], question["params"]) == ("elicitation/create", {"m": 1})
        await socket.ws.send_json({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}})
        answer = await socket.hear()
        expected = {"jsonrpc": "2.0", "id": "u7", "result": {"action": "accept"}}
        assert answer["result"]["structuredContent"] == expected


async def test_a_session_lives_on_while_nothing_is_said_on_its_connection(
    world: EdgeWorld, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ws_connection, "_TOUCH_SECONDS", 0.01)
    sessions = cast("MemorySessions", world.sessions)
    async with connected(world, address) as socket:
        await socket.ask("initialize", **HELLO)
        await until(lambda: sessions.touched[:2] == ["k", "k"])
    await until(lambda: not sessions.records)


async def test_what_is_not_json_rpc_is_told_so_and_the_connection_goes_on(world: EdgeWorld, address: str) -> None:
    async with connected(world, address) as socket:
        for bad, code in (("{", -32700), ("[]", -32600), ("x" * 70_000, -32600)):
            await socket.ws.send_str(bad)
            assert (await socket.hear())["error"]["code"] == code
        assert (await socket.ask("tools/list", _meta={META_VERSION: MODERN}))["error"]["code"] == -32602
        assert (await socket.ask("tools/list", _meta=META))["result"]["tools"] == []


async def test_a_revocation_closes_the_connection(world: EdgeWorld, address: str) -> None:
    async with connected(world, address) as socket:
        await socket.ask("tools/list", _meta=META)
        world.revoke()
        message = await socket.ws.receive(timeout=5)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ws", {"Authorization": "Bearer x"}, 401),
        ("/ws", {"Origin": "https://elsewhere.example"}, 403),
        ("/servers/none/ws", {}, 404),
        ("/other", {}, 403),
    ],
)
async def test_who_may_not_connect_is_refused_before_the_upgrade(
    world: EdgeWorld, address: str, path: str, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(world, address, path, **headers):
            pass
    assert refused.value.status == status


async def test_a_principal_leaves_room_for_the_connections_of_others(
    world: EdgeWorld, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock_gateway.endpoints.ws._MAX_PER_PRINCIPAL", 1)
    async with connected(world, address) as socket:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connected(world, address):
                pass
        other = {"Authorization": f"Bearer {world.signer.token('eve@example.com')}"}
        async with connected(world, address, **other) as another:
            assert "result" in await another.ask("tools/list", _meta=META)
        assert "result" in await socket.ask("tools/list", _meta=META)


@pytest.mark.parametrize(("path", "resource"), [("/ws", "/mcp"), ("/servers/desk/ws", "/servers/desk/mcp")])
async def test_a_refusal_names_metadata_that_exists(world: EdgeWorld, address: str, path: str, resource: str) -> None:
    world.serve(VirtualServer("desk", "Desk", ROOT))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(world, address, path, Authorization=""):
            pass
    assert refused.value.headers is not None
    named = f'resource_metadata="https://gateway.example/.well-known/oauth-protected-resource{resource}"'
    assert named in refused.value.headers["WWW-Authenticate"]


async def test_a_server_for_api_keys_names_no_place_to_get_a_token(world: EdgeWorld, address: str) -> None:
    world.serve(VirtualServer("desk", "Desk", ROOT, api_key_only=True))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(world, address, "/servers/desk/ws", Authorization=""):
            pass
    assert refused.value.headers is not None
    assert "resource_metadata" not in refused.value.headers.get("WWW-Authenticate", "")
