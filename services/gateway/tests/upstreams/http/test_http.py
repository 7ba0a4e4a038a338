import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.testing.servers import RESULT, result_of
from interlock_gateway.testing.upstreams import (
    PROGRESS,
    all_of,
    begin_stream,
    event,
    http_over,
    request_to,
    ways_within,
)
from interlock_gateway.upstreams.addresses import AddressForbidden, AddressPolicy
from interlock_gateway.upstreams.http.transport import HttpTransport


def says(body: bytes = b"", *, status: int = 200, content_type: str = "application/json", **headers: str) -> Any:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, status=status, content_type=content_type, headers=headers)

    return handler


async def test_a_request_says_what_it_is_and_the_answer_stays_as_it_was(http: HttpTransport, serve: Any) -> None:
    seen: list[tuple[dict[str, str], bytes]] = []
    answer = result_of(1, b'{"a" : 1.0, "a": 1e2}')

    async def handler(request: web.Request) -> web.Response:
        seen.append(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        return web.Response(body=answer, content_type="application/json")

    url = await serve(handler)
    assert await all_of(http, request_to(url)) == [answer]
    assert await all_of(http, request_to(url)) == [answer]
    headers, body = seen[0]
    assert (headers["mcp-protocol-version"], headers["mcp-method"], headers["mcp-name"]) == (
        "2026-07-28", "tools/call", "echo",
    )  # fmt: skip
    assert headers["accept"] == "application/json, text/event-stream"
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert b'"method":"tools/call","params":{"name":"echo"}' in body
    assert json.loads(seen[0][1])["id"] != json.loads(seen[1][1])["id"]


async def test_events_pass_one_by_one_while_the_upstream_holds_the_rest_back(http: HttpTransport, serve: Any) -> None:
    released = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        stream = await begin_stream(request)
        await stream.write(event(PROGRESS))
        await released.wait()
        await stream.write(event(result_of(asked["id"])))
        return stream

    async with asyncio.timeout(5), http.open(request_to(await serve(handler))) as exchange:
        assert await anext(aiter(exchange)) == PROGRESS
        released.set()
        (answer,) = [message async for message in exchange]
        assert RESULT in answer


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (says(b"x" * 70_000), "notes is over 65536 bytes"),
        (says(b"data: " + b"x" * 70_000, content_type="text/event-stream"), "notes is over 65536 bytes"),
        (says(b"data: nothing\n\n", content_type="text/event-stream"), "notes sent what is not JSON-RPC"),
        (says(b"", content_type="text/event-stream"), "notes ended its answer without a response"),
        (says(b"<p>hello", content_type="text/html"), "notes answered with text/html, which is not MCP"),
        (says(b"boom", status=500, content_type="text/plain"), "notes answered HTTP 500"),
        (says(b"{}", status=503), "notes answered HTTP 503"),
        (says(b'{"error":"no"}', status=403), "notes answered HTTP 403"),
        (says(b'{"detail":"no"}', status=422), "notes answered HTTP 422"),
        (says(status=202), "notes answered HTTP 202"),
        (says(status=204), "notes answered HTTP 204"),
        (says(result_of(1), status=302, Location="/elsewhere"), "notes answered HTTP 302: it redirects"),
        (says(result_of(1), status=307, Location="http://127.0.0.1:1/?key=k"), "HTTP 307: it redirects"),
    ],
)
async def test_what_is_no_answer_is_refused_by_the_name_of_the_upstream(
    http: HttpTransport, serve: Any, handler: Any, words: str
) -> None:
    with pytest.raises(UpstreamMisbehaved, match=words) as refused:
        await all_of(http, request_to(await serve(handler)))
    assert "127.0.0.1" not in str(refused.value)


async def test_a_redirect_is_not_followed(http: HttpTransport, serve: Any) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=308, headers={"Location": "/elsewhere"})

    with pytest.raises(UpstreamMisbehaved):
        await all_of(http, request_to(await serve(handler)))
    assert asked == ["/mcp"]


async def test_a_modern_error_passes_with_its_http_status(http: HttpTransport, serve: Any) -> None:
    error = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}'
    assert await all_of(http, request_to(await serve(says(error, status=400)))) == [error]


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_an_answer_that_breaks_off_is_an_error_with_a_name(
    http: HttpTransport, serve: Any, content_type: str
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": content_type})
        await stream.prepare(request)
        await stream.write(b"data: {")
        assert request.transport is not None
        request.transport.abort()
        return stream

    with pytest.raises(UpstreamUnreachable, match="upstream notes failed"):
        await all_of(http, request_to(await serve(handler)))


async def test_nobody_there_is_an_error_with_a_name(http: HttpTransport) -> None:
    with pytest.raises(UpstreamUnreachable, match="upstream notes failed"):
        await all_of(http, request_to("http://127.0.0.1:9/?key=secret"))


async def test_a_name_that_leads_into_the_private_network_is_refused(serve: Any) -> None:
    url = (await serve(says(result_of(1)))).replace("127.0.0.1", "localhost")
    ways = ways_within(AddressPolicy())
    for address in (url, url.replace("localhost", "127.0.0.1"), url.replace("localhost", "[::ffff:127.0.0.1]")):
        with pytest.raises(AddressForbidden):
            await all_of(http_over(ways), request_to(address))
    await ways.stop()


async def test_an_answer_that_comes_as_a_stream_leaves_its_connection_to_the_next(
    http: HttpTransport, serve: Any
) -> None:
    connections: set[Any] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        connections.add(request.transport)
        asked = json.loads(await request.read())
        stream = await begin_stream(request)
        await stream.write(event(result_of(asked["id"])))
        await asyncio.sleep(0)
        return stream

    url = await serve(handler)
    for _ in range(3):
        async with http.open(request_to(url)) as exchange:
            assert RESULT in await anext(aiter(exchange))
        await asyncio.gather(*http._ways._tasks)  # pyright: ignore[reportPrivateUsage]
    assert len(connections) == 1


async def test_who_leaves_early_closes_the_connection_and_the_upstream_sees_it(http: HttpTransport, serve: Any) -> None:
    closed = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await begin_stream(request)
        try:
            while True:
                await stream.write(event(PROGRESS))
                await asyncio.sleep(0.01)
        except ConnectionResetError:
            closed.set()
            raise

    async with asyncio.timeout(5):
        async with http.open(request_to(await serve(handler))) as exchange:
            assert await anext(aiter(exchange)) == PROGRESS
        await closed.wait()
