import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp import web

from interlock_common.messages.catalog import Upstream
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.testing import RESULT, EdgeWorld, result_of, upstream_at
from interlock_gateway.upstreams.addresses import AddressForbidden
from interlock_gateway.upstreams.client import UpstreamClient
from interlock_gateway.upstreams.transport import UpstreamRequest

EVENT = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n'


def request(upstream: Upstream, session_key: str = "ada") -> UpstreamRequest:
    return UpstreamRequest(upstream, "tools/call", "echo", b'{"name":"echo"}', "ada@example.com", session_key)


async def all_of(messages: AsyncGenerator[bytes]) -> list[bytes]:
    return [message async for message in messages]


def says(body: bytes = b"", *, status: int = 200, content_type: str = "application/json", **headers: str) -> Any:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, status=status, content_type=content_type, headers=headers)

    return handler


async def test_a_request_says_what_it_is_and_the_answer_stays_as_it_was(world: EdgeWorld, serve: Any) -> None:
    seen: list[tuple[dict[str, str], bytes]] = []
    answer = result_of(1, b'{"a" : 1.0, "a": 1e2}')

    async def handler(request: web.Request) -> web.Response:
        seen.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        return web.Response(body=answer, content_type="application/json")

    upstream = upstream_at(await serve(handler))
    assert await all_of(world.client.messages(request(upstream))) == [answer]
    assert await all_of(world.client.messages(request(upstream))) == [answer]
    headers, body = seen[0]
    assert (headers["mcp-protocol-version"], headers["mcp-method"], headers["mcp-name"]) == (
        "2026-07-28", "tools/call", "echo",
    )  # fmt: skip
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert b'"method":"tools/call","params":{"name":"echo"}' in body
    assert json.loads(seen[0][1])["id"] != json.loads(seen[1][1])["id"]


async def test_events_pass_one_by_one_while_the_upstream_holds_the_rest_back(world: EdgeWorld, serve: Any) -> None:
    released = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(EVENT)
        await released.wait()
        await stream.write(b"data: " + result_of(1) + b"\n\n")
        return stream

    messages = world.client.messages(request(upstream_at(await serve(handler))))
    async with asyncio.timeout(5):
        assert b"notifications/progress" in await anext(messages)
        released.set()
        assert await anext(messages) == result_of(1)
        assert [message async for message in messages] == []


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (says(b"x" * 70_000), "notes is over 65536 bytes"),
        (says(b"data: " + b"x" * 70_000, content_type="text/event-stream"), "notes is over 65536 bytes"),
        (says(b"boom", status=500, content_type="text/plain"), "notes answered HTTP 500"),
        (says(b"{}", status=503), "notes answered HTTP 503"),
        (says(b"no", status=403, content_type="text/html"), "notes answered HTTP 403"),
        (says(status=202), "notes answered HTTP 202"),
        (says(status=204), "notes answered HTTP 204"),
        (says(result_of(1), status=302, Location="/elsewhere"), "notes answered HTTP 302"),
        (says(result_of(1), status=307, Location="http://127.0.0.1:1/"), "notes answered HTTP 307"),
    ],
)
async def test_what_is_no_answer_is_refused_by_the_name_of_the_upstream(
    world: EdgeWorld, serve: Any, handler: Any, words: str
) -> None:
    with pytest.raises(UpstreamMisbehaved, match=words):
        await all_of(world.client.messages(request(upstream_at(await serve(handler)))))


async def test_a_redirect_is_not_followed(world: EdgeWorld, serve: Any) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=308, headers={"Location": "/elsewhere"})

    with pytest.raises(UpstreamMisbehaved):
        await all_of(world.client.messages(request(upstream_at(await serve(handler)))))
    assert asked == ["/mcp"]


async def test_a_modern_error_passes_with_its_http_status(world: EdgeWorld, serve: Any) -> None:
    error = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}'
    upstream = upstream_at(await serve(says(error, status=400)))
    assert await all_of(world.client.messages(request(upstream))) == [error]


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_an_answer_that_breaks_off_is_an_error_with_a_name(
    world: EdgeWorld, serve: Any, content_type: str
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": content_type})
        await stream.prepare(request)
        await stream.write(EVENT[:20])
        assert request.transport is not None
        request.transport.abort()
        return stream

    with pytest.raises(UpstreamUnreachable, match="upstream notes failed"):
        await all_of(world.client.messages(request(upstream_at(await serve(handler)))))


async def test_nobody_there_is_an_error_with_a_name(world: EdgeWorld) -> None:
    with pytest.raises(UpstreamUnreachable, match="upstream notes failed"):
        await all_of(world.client.messages(request(upstream_at("http://127.0.0.1:9/"))))


async def test_silence_is_bounded(serve: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await asyncio.Event().wait()
        return stream

    client = UpstreamClient(connections=1, idle_timeout=0.05, max_answer=100, allow_private=True)
    client.start()
    with pytest.raises(UpstreamUnreachable, match="notes did not answer in time"):
        await all_of(client.messages(request(upstream_at(await serve(handler)))))
    await client.stop()


async def test_a_name_that_leads_into_the_private_network_is_refused(serve: Any) -> None:
    url = (await serve(says(result_of(1)))).replace("127.0.0.1", "localhost")
    client = UpstreamClient(connections=1, idle_timeout=5, max_answer=100, allow_private=False)
    client.start()
    for address in (url, url.replace("localhost", "127.0.0.1"), url.replace("localhost", "[::ffff:127.0.0.1]")):
        with pytest.raises((AddressForbidden, UpstreamUnreachable)):
            await all_of(client.messages(request(upstream_at(address))))
    await client.stop()


class LegacyServer:
    """An upstream of the handshake era; ``forget`` ends all its sessions."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.begun = 0
        self.called_with: list[str] = []
        self.always_lost = False

    async def __call__(self, request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        if message["method"] == "initialize":
            self.begun += 1
            self.live.add(f"s{self.begun}")
            return web.Response(
                body=result_of(message["id"], b'{"protocolVersion":"2025-11-25","capabilities":{}}'),
                content_type="application/json",
                headers={"Mcp-Session-Id": f"s{self.begun}"},
            )
        session = request.headers["Mcp-Session-Id"]
        if session not in self.live or (self.always_lost and "id" in message):
            return web.Response(status=404, content_type="text/plain")
        if "id" not in message:
            return web.Response(status=202)
        self.called_with.append(session)
        return web.Response(body=result_of(message["id"]), content_type="application/json")


async def test_an_upstream_session_is_opened_once_for_each_principal(world: EdgeWorld, serve: Any) -> None:
    server = LegacyServer()
    upstream = upstream_at(await serve(server), era="legacy", protocol_version="2025-11-25")
    calls = [all_of(world.client.messages(request(upstream, who))) for who in ("ada", "ada", "ada", "eve")]
    answers = await asyncio.gather(*calls)
    assert all(RESULT in answer[0] for answer in answers)
    assert server.begun == 2
    assert sorted(server.called_with.count(session) for session in set(server.called_with)) == [1, 3]


async def test_a_session_that_the_upstream_forgot_is_opened_again(world: EdgeWorld, serve: Any) -> None:
    server = LegacyServer()
    upstream = upstream_at(await serve(server), era="legacy", protocol_version="2025-11-25")
    await all_of(world.client.messages(request(upstream)))
    server.live.clear()
    assert RESULT in (await all_of(world.client.messages(request(upstream))))[0]
    assert server.called_with == ["s1", "s2"]


async def test_an_upstream_that_forgets_every_session_is_an_error_with_a_name(world: EdgeWorld, serve: Any) -> None:
    server = LegacyServer()
    server.always_lost = True
    upstream = upstream_at(await serve(server), era="legacy", protocol_version="2025-11-25")
    with pytest.raises(UpstreamMisbehaved, match="notes answered HTTP 404"):
        await all_of(world.client.messages(request(upstream)))
    assert server.begun == 2


async def test_a_refused_handshake_is_an_error_and_leaves_nothing_behind(world: EdgeWorld, serve: Any) -> None:
    upstream = upstream_at(await serve(says(status=401)), era="legacy", protocol_version="2025-11-25")
    for who in ("ada", "eve"):
        with pytest.raises(UpstreamMisbehaved, match="notes refused to initialize with HTTP 401"):
            await all_of(world.client.messages(request(upstream, who)))
    assert not world.client._opening  # pyright: ignore[reportPrivateUsage]
