import asyncio
import hashlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from interlock_common.messages.catalog import Era
from interlock_gateway.upstreams.discovery import definitions
from interlock_gateway.upstreams.discovery.discovery import Discovered, discover
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable
from interlock_gateway.upstreams.discovery.http_asking import HttpAsking

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
type Serve = Callable[[Handler], Awaitable[str]]

ODD = b'{ "name" :"odd","inputSchema":{"type":"object" , "x":1.10,"y":1e5 },\n "description":"caf\\u00e9 \xc3\xa9"}'
MODERN = b'{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}'


async def find(http: aiohttp.ClientSession, url: str, era: Era | None = None, timeout: float = 60) -> Discovered:
    return await discover(HttpAsking(http, URL(url), era), timeout=timeout)


async def cause(http: aiohttp.ClientSession, url: str, **options: Any) -> str:
    with pytest.raises(UpstreamUnusable) as caught:
        await find(http, url, **options)
    assert caught.value.fields["cause"] == caught.value.cause
    return caught.value.cause


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    """Starts a server whose every POST a function of the test answers."""
    servers: list[TestServer] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_post("/mcp", handler)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/mcp"))

    yield start
    for server in servers:
        await server.close()


async def asked(request: web.Request) -> tuple[str, Any, dict[str, Any]]:
    message = cast("dict[str, Any]", msgspec.json.decode(await request.read()))
    return message["method"], message.get("id"), message.get("params", {})


def result(message_id: Any, body: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (message_id, body)


def json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def modern_server(tools: bytes) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        method, message_id, _ = await asked(request)
        return json(result(message_id, MODERN if method == "server/discover" else tools))

    return handler


async def test_a_server_of_both_eras_is_found_modern(http: aiohttp.ClientSession, notes: str) -> None:
    found = await find(http, notes)
    assert (found.era, found.protocol_version) == ("modern", "2026-07-28")
    assert [tool.name for tool in found.tools] == [
        "add_note", "search_notes", "delete_everything", "read_credentials", "count_slowly",
    ]  # fmt: skip


async def test_the_configuration_overrides_the_era(http: aiohttp.ClientSession, notes: str) -> None:
    found = await find(http, notes, era="legacy")
    assert (found.era, found.protocol_version) == ("legacy", "2025-11-25")
    assert len(found.tools) == 5


async def test_a_legacy_server_is_found_by_the_handshake(http: aiohttp.ClientSession, legacy_weather: str) -> None:
    found = await find(http, legacy_weather)
    assert (found.era, found.protocol_version) == ("legacy", "2025-11-25")
    assert [tool.name for tool in found.tools] == ["current_weather", "forecast", "to_fahrenheit"]


async def test_a_modern_server_is_found_modern(http: aiohttp.ClientSession, modern_weather: str) -> None:
    assert (await find(http, modern_weather)).era == "modern"


async def test_a_modern_server_called_legacy_is_refused(http: aiohttp.ClientSession, modern_weather: str) -> None:
    assert await cause(http, modern_weather, era="legacy") == "protocol"


async def test_a_legacy_server_called_modern_is_refused(http: aiohttp.ClientSession, legacy_weather: str) -> None:
    assert await cause(http, legacy_weather, era="modern") == "protocol"


async def test_definitions_are_kept_byte_for_byte(http: aiohttp.ClientSession, serve: Serve) -> None:
    found = await find(http, await serve(modern_server(b'{"tools":[ ' + ODD + b" ]}")))
    assert bytes(found.tools[0].definition) == ODD
    assert found.tools[0].digest == f"sha256:{hashlib.sha256(ODD).hexdigest()}"
    again = msgspec.json.decode(msgspec.json.encode(found.tools[0]), type=type(found.tools[0]))
    assert bytes(again.definition) == ODD


async def test_definitions_in_an_event_stream_are_kept_byte_for_byte(http: aiohttp.ClientSession, serve: Serve) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        method, message_id, _ = await asked(request)
        if method == "server/discover":
            return json(result(message_id, MODERN))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": hello\r\n\r\nid: 1\r\ndata:\r\n\r\n")
        await response.write(b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\r\n\r')
        lines = result(message_id, b'{"tools":[' + ODD + b"]}").split(b"\n")
        stream = b"\nevent: message\r\n" + b"".join(b"data: " + line + b"\r\n" for line in lines) + b"\r\n"
        for at in range(0, len(stream), 7):
            await response.write(stream[at : at + 7])
        return response

    found = await find(http, await serve(handler))
    assert bytes(found.tools[0].definition) == ODD


async def test_pages_are_followed_and_an_empty_cursor_is_one(http: aiohttp.ClientSession, serve: Serve) -> None:
    pages = {None: ("a", '""'), "": ("b", '"x"'), "x": ("c", "null")}

    async def handler(request: web.Request) -> web.Response:
        method, message_id, params = await asked(request)
        if method == "server/discover":
            return json(result(message_id, MODERN))
        name, after = pages[params.get("cursor")]
        page = f'{{"tools":[{{"name":"{name}","inputSchema":{{}}}}],"nextCursor":{after}}}'
        return json(result(message_id, page.encode()))

    found = await find(http, await serve(handler))
    assert [tool.name for tool in found.tools] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "page",
    [
        b'{"tools":[],"nextCursor":"again"}',
        b'{"tools":[{"name":"a b","inputSchema":{}}]}',
        b'{"tools":[{"name":"","inputSchema":{}}]}',
        b'{"tools":[{"name":"%s","inputSchema":{}}]}' % (b"a" * 129),
        b'{"tools":[{"name":"a"}]}',
        b'{"tools":[{"name":"a","inputSchema":true}]}',
        b'{"tools":[{"name":"a","inputSchema":{}},{"name":"a","inputSchema":{}}]}',
        b'{"tools":{}}',
        b'{"nothing":1}',
        b'{"tools":[{"name":"a","inputSchema":{},"title":"\xff\xfe"}]}',
        b'{"tools":[{"name":"a","inputSchema":{},"x":%s%s}]}' % (b"[" * 80, b"]" * 80),
    ],
)
async def test_tools_that_no_client_could_use_are_refused(
    http: aiohttp.ClientSession, serve: Serve, page: bytes
) -> None:
    assert await cause(http, await serve(modern_server(page))) == "protocol"


async def test_brackets_inside_of_text_do_not_nest(http: aiohttp.ClientSession, serve: Serve) -> None:
    page = b'{"tools":[{"name":"a","inputSchema":{},"x":"\\"%s"}]}' % (b"[" * 80)
    assert len((await find(http, await serve(modern_server(page)))).tools) == 1


async def test_an_answer_nested_without_end_is_no_answer(http: aiohttp.ClientSession, serve: Serve) -> None:
    page = b'{"tools":[{"name":"a","inputSchema":{},"x":%s%s}]}' % (b"[" * 100_000, b"]" * 100_000)
    assert await cause(http, await serve(modern_server(page))) == "protocol"


async def test_definitions_over_the_bound_are_refused(http: aiohttp.ClientSession, serve: Serve) -> None:
    filler = b"x" * definitions.MAX_DEFINITION_BYTES
    page = b'{"tools":[{"name":"a","inputSchema":{},"description":"%s"}]}' % filler
    assert await cause(http, await serve(modern_server(page))) == "too_large"


async def test_many_small_tools_over_the_bound_are_refused(http: aiohttp.ClientSession, serve: Serve) -> None:
    page = b",".join(b'{"name":"tool-%d","inputSchema":{}}' % number for number in range(10_001))
    assert await cause(http, await serve(modern_server(b'{"tools":[' + page + b"]}"))) == "too_large"


async def test_an_answer_over_the_bound_is_refused(
    http: aiohttp.ClientSession, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interlock_gateway.upstreams.discovery.exchange.MAX_ANSWER_BYTES", 1000)
    page = b'{"tools":[],"filler":"%s"}' % (b"x" * 2000)
    assert await cause(http, await serve(modern_server(page))) == "too_large"


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_a_status_that_tells_no_era_ends_the_discovery(
    http: aiohttp.ClientSession, serve: Serve, status: int
) -> None:
    methods: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        methods.append((await asked(request))[0])
        return web.Response(status=status)

    with pytest.raises(UpstreamUnusable, match=str(status)) as caught:
        await find(http, await serve(handler))
    assert caught.value.cause == "status"
    assert methods == ["server/discover"]


@pytest.mark.parametrize("code", [-32020, -32021, -32022])
async def test_an_error_of_the_modern_revision_is_a_modern_server(
    http: aiohttp.ClientSession, serve: Serve, code: int
) -> None:
    async def handler(request: web.Request) -> web.Response:
        method, message_id, _ = await asked(request)
        if method == "server/discover":
            return json(b'{"jsonrpc":"2.0","id":%d,"error":{"code":%d,"message":"no"}}' % (message_id, code), 400)
        if method == "tools/list":
            return json(result(message_id, b'{"tools":[{"name":"a","inputSchema":{}}]}'))
        return json(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32601,"message":"no"}}' % message_id, 404)

    found = await find(http, await serve(handler))
    assert (found.era, len(found.tools), found.resources) == ("modern", 1, ())


async def test_a_server_of_a_later_revision_only_is_refused(http: aiohttp.ClientSession, serve: Serve) -> None:
    async def handler(request: web.Request) -> web.Response:
        _, message_id, _ = await asked(request)
        error = b'{"code":-32022,"message":"no","data":{"supported":["2031-01-01"]}}'
        return json(b'{"jsonrpc":"2.0","id":%d,"error":%s}' % (message_id, error), 400)

    with pytest.raises(UpstreamUnusable, match="2031-01-01"):
        await find(http, await serve(handler))


async def test_a_page_that_is_no_mcp_server_is_told_so(http: aiohttp.ClientSession, serve: Serve) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text="<h1>welcome</h1>", content_type="text/html")

    assert await cause(http, await serve(handler)) == "not_mcp"


async def test_a_redirect_is_not_followed(http: aiohttp.ClientSession, serve: Serve) -> None:
    async def handler(_request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest")

    assert await cause(http, await serve(handler)) == "redirect"


async def test_a_server_that_does_not_answer_is_given_up(http: aiohttp.ClientSession, serve: Serve) -> None:
    released = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    assert await cause(http, await serve(handler), timeout=0.2) == "timeout"
    released.set()


async def test_connection_failures_are_told_apart(http: aiohttp.ClientSession, notes: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert await cause(http, f"http://127.0.0.1:{port}/mcp") == "refused"
    assert await cause(http, "http://nowhere.invalid/mcp") == "dns"
    assert await cause(http, f"http://{'a' * 70}.invalid/mcp") == "dns"
    assert await cause(http, notes.replace("http://", "https://")) == "tls"
    assert await cause(http, notes.replace("/mcp", "/other")) == "not_mcp"


async def test_a_server_that_hangs_up_is_told_so(http: aiohttp.ClientSession) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await cause(http, f"http://127.0.0.1:{port}/mcp") == "connection"
