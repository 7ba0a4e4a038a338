"""``interlock connect`` as a process, against a gateway that a test plays."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.testing.waiting import until

INTERLOCK = str(Path(sys.executable).with_name("interlock"))
ECHO = """
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "die": os._exit(1)
    result = {"pid": os.getpid(), "got": message}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@dataclass
class Gateway:
    """Takes what dials in; ``refuses`` is the status or the closing code that it answers instead."""

    url: str = ""
    refuses: int = 0
    asked: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    tokens: list[str] = field(default_factory=list[str])
    tunnels: asyncio.Queue[web.WebSocketResponse] = field(default_factory=asyncio.Queue[web.WebSocketResponse])

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        self.tokens.append(request.headers.get("Authorization", ""))
        if 0 < self.refuses < 1000:
            return web.Response(status=self.refuses)
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        if self.refuses:
            await opened.close(code=self.refuses, message=b"the session was closed")
            return opened
        params = {"session": "s", "upstream": "u", "name": request.query["name"]}
        await opened.send_json({"jsonrpc": "2.0", "method": "interlock/connected", "params": params})
        await self.tunnels.put(opened)
        while not opened.closed:  # noqa: ASYNC110 - the test reads what comes, and closes it
            await asyncio.sleep(0.01)
        return opened


async def ask(tunnel: web.WebSocketResponse, method: str, **params: Any) -> Any:
    await tunnel.send_json({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    async with asyncio.timeout(10):
        return (await tunnel.receive_json())["result"]


@asynccontextmanager
async def serving(handle: Callable[[web.Request], Awaitable[web.StreamResponse]], path: str) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_route("*", path, handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def gateway() -> AsyncGenerator[Gateway]:
    gateway = Gateway()
    async with serving(gateway.take, "/reverse-proxy/ws") as gateway.url:
        yield gateway


@asynccontextmanager
async def connecting(gateway: Gateway, *arguments: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        INTERLOCK, "connect", "--url", gateway.url, *arguments,
        env=os.environ | {"INTERLOCK_TOKEN": "t0ken"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.communicate()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_command_is_served_and_ends_with_the_tunnel(gateway: Gateway) -> None:
    async with connecting(gateway, "--name", "notes", "--visibility", "private", "--", sys.executable, "-c", ECHO):
        tunnel = await gateway.tunnels.get()
        answer = await ask(tunnel, "tools/list", text="grüße\n")
        assert answer["got"]["params"] == {"text": "grüße\n"}
        assert gateway.asked == [{"name": "notes", "visibility": "private"}]
        assert gateway.tokens == ["Bearer t0ken"]
    await until(lambda: not alive(answer["pid"]))


async def test_a_lost_connection_is_made_again_with_a_new_server(gateway: Gateway) -> None:
    async with connecting(gateway, "--name", "notes", "--", sys.executable, "-c", ECHO):
        tunnel = await gateway.tunnels.get()
        first = (await ask(tunnel, "x"))["pid"]
        await tunnel.close(code=1001)
        second = (await ask(await gateway.tunnels.get(), "x"))["pid"]
        assert second != first
        assert not alive(first)


async def test_a_server_that_dies_is_started_again(gateway: Gateway) -> None:
    async with connecting(gateway, "--name", "notes", "--", sys.executable, "-c", ECHO):
        tunnel = await gateway.tunnels.get()
        await tunnel.send_json({"jsonrpc": "2.0", "id": 1, "method": "die"})
        await tunnel.receive()
        assert (await ask(await gateway.tunnels.get(), "x"))["pid"]


@pytest.mark.parametrize("refusal", [401, 403, 4403, 4410])
async def test_a_refusal_is_not_tried_again(gateway: Gateway, refusal: int) -> None:
    gateway.refuses = refusal
    async with connecting(gateway, "--name", "notes", "--", sys.executable, "-c", ECHO) as process:
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 6
    assert str(refusal).encode() in errors
    assert b"t0ken" not in errors
    assert len(gateway.asked) == 1


async def test_a_command_that_is_not_there_is_said(gateway: Gateway) -> None:
    async with connecting(gateway, "--name", "notes", "--", "no-such-command-here") as process:
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"no-such-command-here" in errors


async def test_either_a_command_or_a_server(gateway: Gateway) -> None:
    async with connecting(gateway, "--name", "notes") as process:
        _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"--server" in errors


async def test_a_local_http_server_is_bridged(gateway: Gateway) -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.text()
        seen.append((request.method, dict(request.headers)))
        if request.method != "POST":
            return web.Response(status=405)
        message = msgspec.json.decode(body)
        if message["method"] == "initialize":
            result: Any = {"protocolVersion": "2025-11-25"}
            reply = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            return web.json_response(reply, headers={"Mcp-Session-Id": "abc"})
        if "id" not in message:
            return web.Response(status=202)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for said in ({"method": "notifications/progress"}, {"id": message["id"], "result": {"ok": True}}):
            await stream.write(
                b"event: message\r\ndata: " + msgspec.json.encode({"jsonrpc": "2.0"} | said) + b"\r\n\r\n"
            )
        return stream

    async with serving(answer, "/mcp") as local, connecting(gateway, "--name", "n", "--server", f"{local}/mcp"):
        tunnel = await gateway.tunnels.get()
        assert (await ask(tunnel, "initialize"))["protocolVersion"] == "2025-11-25"
        await tunnel.send_json({"jsonrpc": "2.0", "method": "notifications/initialized"})
        await tunnel.send_json({"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {"name": "x"}})
        assert (await tunnel.receive_json())["method"] == "notifications/progress"
        assert (await tunnel.receive_json())["result"] == {"ok": True}
        call = next(headers for method, headers in reversed(seen) if method == "POST")
        assert (call["Mcp-Session-Id"], call["MCP-Protocol-Version"]) == ("abc", "2025-11-25")
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
        await tunnel.send_json(
            {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "é", "_meta": meta}}
        )
        await tunnel.receive_json()
        await tunnel.receive_json()
        assert (seen[-1][1]["Mcp-Method"], seen[-1][1]["Mcp-Name"]) == ("tools/call", "=?base64?w6k=?=")
        assert "Mcp-Session-Id" not in seen[-1][1]


async def test_a_local_server_that_is_away_is_an_error_of_each_call(gateway: Gateway) -> None:
    async with connecting(gateway, "--name", "n", "--server", "http://127.0.0.1:1/mcp"):
        tunnel = await gateway.tunnels.get()
        await tunnel.send_json({"jsonrpc": "2.0", "id": 8, "method": "tools/list"})
        assert "failed" in (await tunnel.receive_json())["error"]["message"]
