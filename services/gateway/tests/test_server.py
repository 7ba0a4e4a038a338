"""The edge behind its real HTTP server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from interlock_common.errors import ConfigurationError
from interlock_common.messages.audit import CallOutcome
from interlock_common.testing.waiting import until
from interlock_gateway.server import Router, listen, make_server
from interlock_gateway.testing.asking import modern_call
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import result_of, upstream_at

PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}'


async def _no_rest(scope: dict[str, Any], receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 418, "headers": ()})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def edge(world: EdgeWorld) -> AsyncGenerator[str]:
    """``world`` behind a listener; yields its address."""
    listener = listen("127.0.0.1", 0)
    server = make_server(Router(world.endpoints(), _no_rest))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def test_events_reach_the_client_while_the_upstream_holds_the_rest_back(world: EdgeWorld, serve: Any) -> None:
    released = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        request_id = json.loads(await request.read())["id"]
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"data: " + PROGRESS + b"\n\n")
        await released.wait()
        await stream.write(b"data: " + result_of(request_id) + b"\n\n")
        return stream

    world.register(upstream_at(await serve(handler)))
    headers, body = modern_call(_meta={"progressToken": 1})
    headers |= {"authorization": f"Bearer {world.signer.token()}"}
    async with (
        asyncio.timeout(10),
        edge(world) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/mcp", data=body, headers=headers) as answer,
    ):
        assert (answer.content_type, answer.headers["x-accel-buffering"]) == ("text/event-stream", "no")
        assert await answer.content.readuntil(b"\n\n") == b"event: message\ndata: " + PROGRESS + b"\n\n"
        released.set()
        rest = await answer.content.read()
    final = json.loads(rest.removeprefix(b"event: message\ndata: "))
    assert (final["id"], final["result"]["content"][0]["text"]) == (7, "done")


async def test_a_client_that_leaves_cancels_its_call_and_the_upstream_is_told(world: EdgeWorld, serve: Any) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        asked.set()
        try:
            while True:
                await stream.write(b": waiting\n\n")
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            left.set()
            raise

    world.register(upstream_at(await serve(handler)))
    headers, body = modern_call()
    headers |= {"authorization": f"Bearer {world.signer.token()}"}
    async with asyncio.timeout(10), edge(world) as url, aiohttp.ClientSession() as session:
        call = asyncio.create_task(session.post(f"{url}/mcp", data=body, headers=headers).__aenter__())
        await asked.wait()
        call.cancel()
        await left.wait()
        await until(lambda: world.audit.of(CallOutcome) != [])
    (outcome,) = world.audit.of(CallOutcome)
    assert (outcome.outcome, outcome.reason) == ("cancelled", "the client left")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/mcp", 401), ("/mcp/", 401), ("/servers/desk/mcp", 401), ("/servers/a%2Fb/mcp", 418), ("/mcpx", 418),
     ("/health", 418)],
)  # fmt: skip
async def test_paths_lead_to_mcp_or_to_rest(world: EdgeWorld, path: str, status: int) -> None:
    async with edge(world) as url, aiohttp.ClientSession() as session, session.post(url + path) as answer:
        assert answer.status == status


async def test_edges_on_one_machine_share_a_port() -> None:
    first = listen("127.0.0.1", 0)
    second = listen("127.0.0.1", first.getsockname()[1])
    first.close()
    second.close()


def test_an_address_that_cannot_be_used_names_its_settings() -> None:
    with pytest.raises(ConfigurationError, match=r"HOST 192\.0\.2\.1 with PORT 4444"):
        listen("192.0.2.1", 4444)
