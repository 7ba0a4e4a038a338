import asyncio
import base64
import gzip
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.catalog import Definition, Limits, RestCall, Upstream
from interlock_common.testing.waiting import until
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.testing.servers import Handler, upstream_at
from interlock_gateway.upstreams.addresses import AddressForbidden, AddressPolicy
from interlock_gateway.upstreams.connections import Bounds, Ways
from interlock_gateway.upstreams.rest.transport import RestTransport
from interlock_gateway.upstreams.room import NoRoom
from interlock_gateway.upstreams.transport import UpstreamRequest

type Serve = Callable[[Handler], Awaitable[str]]


class FakeCredentials:
    """Shows what a test puts there; the first refusal brings the next."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = [{}]
        self.asked_for: list[str] = []

    async def headers(self, upstream: Upstream, principal: str) -> Mapping[str, str]:
        del upstream
        self.asked_for.append(principal)
        return self.shown[0]

    def invalid(self, upstream: Upstream, principal: str, challenge: str = "") -> bool:
        del upstream, principal, challenge
        if len(self.shown) > 1:
            self.shown.pop(0)
            return True
        return False


class RestWorld:
    """A transport and the upstreams of a test."""

    def __init__(self, *, allow_private: bool = True, max_answer: int = 65_536) -> None:
        self.credentials = FakeCredentials()
        self.ways = Ways(Bounds(max_answer=max_answer, idle_timeout=5), AddressPolicy(allow_private))
        self.transport = RestTransport(self.ways, self.credentials)

    async def respond(self, upstream: Upstream, name: str, arguments: Any, method: str = "tools/call") -> Any:
        params = json.dumps({"name": name, "arguments": arguments}).encode()
        request = UpstreamRequest(upstream, method, name, params, "ada", "session")
        async with asyncio.timeout(10), self.transport.open(request) as exchange:
            (message,) = [message async for message in exchange]
        return json.loads(message)

    async def call(self, upstream: Upstream, arguments: Any = None, name: str = "forecast") -> Any:
        return (await self.respond(upstream, name, arguments or {}))["result"]


@pytest.fixture
async def rest() -> AsyncGenerator[RestWorld]:
    world = RestWorld()
    yield world
    await world.ways.stop()


def weather(url: str, call: RestCall | None = None, schema: Any = None, **changes: Any) -> Upstream:
    """A REST upstream called notes with a tool ``forecast``."""
    definition = msgspec.json.encode({"name": "forecast", "inputSchema": schema or {"type": "object"}})
    return upstream_at(
        url.removesuffix("/mcp"),
        transport="rest",
        tools=(Definition("forecast", msgspec.Raw(definition), f"sha256:{hash(definition)}"),),
        rest={"forecast": call or RestCall("GET", "/forecast")},
        **changes,
    )


def says(body: bytes = b"", *, status: int = 200, content_type: str = "application/json", **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(
            body=body,
            status=status,
            headers={"Content-Type": content_type} | {k.replace("_", "-"): v for k, v in headers.items()},
        )

    return handler


async def test_a_call_is_one_request_and_its_answer_the_result(rest: RestWorld, serve: Serve) -> None:
    seen: list[web.Request] = []
    bodies: list[bytes] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.read())
        return web.Response(body=b'{"city": "Oslo", "days": [{"high": 7.50}]}', content_type="application/json")

    call = RestCall("POST", "/cities/{city}/forecast", query={"units": "units"}, headers={"Accept-Language": "lang"})
    arguments = {"city": "Nord/Sør", "units": "metric", "lang": "nb", "days": 3}
    rest.credentials.shown = [{"Authorization": "Bearer ours"}]
    result = await rest.call(weather(await serve(handler), call), arguments)
    assert result == {
        "content": [{"type": "text", "text": '{"city": "Oslo", "days": [{"high": 7.50}]}'}],
        "structuredContent": {"city": "Oslo", "days": [{"high": 7.5}]},
    }
    (request,) = seen
    assert (request.method, request.raw_path) == ("POST", "/cities/Nord%2FS%C3%B8r/forecast?units=metric")
    assert bodies == [b'{"days":3}']
    assert request.headers["Authorization"] == "Bearer ours"
    assert request.headers["Accept-Language"] == "nb"
    assert request.headers["Content-Type"] == "application/json"
    assert rest.credentials.asked_for == ["ada"]


async def test_the_credential_wins_over_an_argument(rest: RestWorld, serve: Serve) -> None:
    seen: list[list[str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.getall("X-Api-Key"))
        return web.Response(body=b"{}", content_type="application/json")

    rest.credentials.shown = [{"x-api-key": "ours"}]
    call = RestCall("GET", "/", headers={"X-API-Key": "key"})
    await rest.call(weather(await serve(handler), call), {"key": "theirs"})
    assert seen == [["ours"]]


async def test_a_refused_credential_is_renewed_once(rest: RestWorld, serve: Serve) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({}, status=200 if seen[-1] == "new" else 401)

    rest.credentials.shown = [{"Authorization": "old"}, {"Authorization": "new"}]
    upstream = weather(await serve(handler))
    assert "isError" not in await rest.call(upstream)
    rest.credentials.shown = [{"Authorization": "old"}]
    assert (await rest.call(upstream))["isError"] is True
    assert seen == ["old", "new", "old"]


@pytest.mark.parametrize(
    ("path", "text", "structured"),
    [
        ("$.now", '{"t" : 1.0}', {"t": 1.0}),
        ("$.days[-1]", "2", None),
        ("$.days", "[1, 2]", None),
        ("$['name']", '"Oslo"', None),
    ],
)
async def test_a_path_selects_from_the_answer(
    rest: RestWorld, serve: Serve, path: str, text: str, structured: Any
) -> None:
    url = await serve(says(b'\xef\xbb\xbf{"now": {"t" : 1.0}, "days": [1, 2], "name": "Oslo"}'))
    result = await rest.call(weather(url, RestCall("GET", "/", result=path)))
    assert result["content"] == [{"type": "text", "text": text}]
    assert result.get("structuredContent") == structured


PROBLEM = b'{"title": "No such city", "detail": "Atlantis is not on the map", "status": 404, "trace": "secret"}'


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (says(b"{}", status=500), "notes answered HTTP 500 Internal Server Error: {}"),
        (says(b"<p>no</p>", status=404, content_type="text/html"), "HTTP 404 Not Found: <p>no</p>"),
        (says(b"x" * 9000, status=400, content_type="text/plain"), "HTTP 400 Bad Request: " + "x" * 2000),
        (says(PROBLEM, status=404, content_type="application/problem+json"),
         "HTTP 404 Not Found: No such city: Atlantis is not on the map"),
        (says(b"[", status=400, content_type="application/problem+json"), "HTTP 400 Bad Request: ["),
        (says(b"\x00\x01", status=400, content_type="image/png"), "HTTP 400 Bad Request"),
        (says(b"", status=429, Retry_After="17"), "HTTP 429 Too Many Requests (retry after 17)"),
        (says(b"", status=599), "HTTP 599"),
        (says(b"", status=302, Location="https://evil.example/?token=1"), "a redirect that is not followed"),
        (says(b'{"a": [}'), "notes said that it answers JSON, and did not"),
        (says(b'"\xff"'), "notes said that it answers JSON, and did not"),
        (says(b"[" * 65 + b"]" * 65), "nests over 64 levels"),
        (says(b"{}"), "has nothing at $.now"),
        (says(b"[" * 30_000 + b"]" * 30_000), "nests over 64 levels"),
        (says(b"PK\x03\x04", content_type="application/zip"), "4 bytes of application/zip, which no tool result"),
    ],
)  # fmt: skip
async def test_what_is_no_good_answer_is_an_error_for_the_model(
    rest: RestWorld, serve: Serve, handler: Handler, words: str
) -> None:
    result = await rest.call(weather(await serve(handler), RestCall("GET", "/", result="$.now")))
    assert result["isError"] is True
    (text,) = (item["text"] for item in result["content"])
    assert words in text
    assert len(text) < 2200
    assert "secret" not in text
    assert "token" not in text


@pytest.mark.parametrize(
    ("handler", "content"),
    [
        (says("blå".encode(), content_type="text/plain; charset=utf-8"), {"type": "text", "text": "blå"}),
        (says("blå".encode("latin-1"), content_type="text/csv; charset=ISO-8859-1"), {"type": "text", "text": "blå"}),
        (says(b"a\xff", content_type="text/plain; charset=nonsense"), {"type": "text", "text": "a\ufffd"}),
        (says(b"<svg/>", content_type="image/svg+xml"), {"type": "text", "text": "<svg/>"}),
        (says(b"\x89PNG", content_type="image/png"),
         {"type": "image", "data": base64.b64encode(b"\x89PNG").decode(), "mimeType": "image/png"}),
        (says(b"RIFF", content_type="audio/wav"), {"type": "audio", "data": "UklGRg==", "mimeType": "audio/wav"}),
        (says(status=204), {"type": "text", "text": "done: HTTP 204 without content"}),
    ],
)  # fmt: skip
async def test_other_kinds_of_answers_are_content_of_their_kind(
    rest: RestWorld, serve: Serve, handler: Handler, content: dict[str, str]
) -> None:
    assert await rest.call(weather(await serve(handler))) == {"content": [content]}


async def test_arguments_that_do_not_fit_are_told_and_nothing_is_sent(rest: RestWorld, serve: Serve) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({})

    schema = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}
    upstream = weather(await serve(handler), RestCall("GET", "/{city}"), schema)
    refused: list[tuple[Any, str]] = [
        ({}, '"city" is a required'),
        ({"city": 1}, "city: "),
        ({"city": ".."}, "no place"),
        ([], "arguments are a JSON object"),
    ]
    for arguments, words in refused:
        result = (await rest.respond(upstream, "forecast", arguments))["result"]
        assert result["isError"] is True
        assert words in result["content"][0]["text"]
    assert asked == []


async def test_other_methods_and_unknown_tools_are_errors_of_the_protocol(rest: RestWorld) -> None:
    upstream = weather("http://127.0.0.1:9")
    assert (await rest.respond(upstream, "forecast", {}, "prompts/get"))["error"]["code"] == -32601
    unknown = (await rest.respond(upstream, "other", {}))["error"]
    assert (unknown["code"], unknown["message"]) == (-32602, "Unknown tool: other")


async def test_a_newer_version_of_an_upstream_counts_at_once(rest: RestWorld, serve: Serve) -> None:
    old = weather(await serve(says(b"{}")))
    assert "isError" not in await rest.call(old)
    assert "error" in await rest.respond(msgspec.structs.replace(old, rest={}), "forecast", {})


async def test_a_redirect_within_the_origin_is_followed_three_times(rest: RestWorld, serve: Serve) -> None:
    seen: list[tuple[str, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path_qs, request.headers.get("Authorization")))
        left = int(request.query.get("left", "0"))
        if left:
            return web.Response(status=302, headers={"Location": f"../deeper/x?left={left - 1}#f"})
        return web.json_response({"at": request.path})

    rest.credentials.shown = [{"Authorization": "ours"}]
    url = await serve(handler)
    upstream = weather(url, RestCall("GET", "/a/b", query={"left": "left"}))
    assert (await rest.call(upstream, {"left": 3}))["structuredContent"] == {"at": "/deeper/x"}
    assert seen[-1] == ("/deeper/x?left=0", "ours")
    assert (await rest.call(upstream, {"left": 4}))["isError"] is True
    assert len(seen) == 8


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/", "//127.0.0.1:1/", "https://evil.example/", "file:///etc/passwd", "http://[", ""]
)
async def test_a_redirect_to_anywhere_else_is_not_followed(rest: RestWorld, serve: Serve, location: str) -> None:
    result = await rest.call(weather(await serve(says(status=307, Location=location))))
    assert "a redirect that is not followed" in result["content"][0]["text"]


async def test_a_redirect_of_what_changes_something_is_not_followed(rest: RestWorld, serve: Serve) -> None:
    url = await serve(says(status=307, Location="/elsewhere"))
    result = await rest.call(weather(url, RestCall("DELETE", "/")))
    assert "HTTP 307 Temporary Redirect, a redirect that is not followed" in result["content"][0]["text"]


async def test_an_answer_is_bounded(rest: RestWorld, serve: Serve) -> None:
    with pytest.raises(UpstreamMisbehaved, match="the answer of upstream notes is over 65536 bytes"):
        await rest.call(weather(await serve(says(b'"' + b"x" * 70_000 + b'"'))))


async def test_a_compressed_answer_is_refused(rest: RestWorld, serve: Serve) -> None:
    with pytest.raises(UpstreamMisbehaved, match="notes answers compressed"):
        await rest.call(weather(await serve(says(gzip.compress(b"{}"), Content_Encoding="gzip"))))


async def test_nobody_there_is_an_error_with_a_name(rest: RestWorld) -> None:
    with pytest.raises(UpstreamUnreachable, match="upstream notes failed"):
        await rest.call(weather("http://127.0.0.1:9"))


async def test_an_answer_that_breaks_off_is_an_error_with_a_name(rest: RestWorld, serve: Serve) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100"})
        await stream.prepare(request)
        await stream.write(b'{"a":')
        assert request.transport is not None
        request.transport.abort()
        return stream

    with pytest.raises(UpstreamUnreachable, match="upstream notes failed"):
        await rest.call(weather(await serve(handler)))


@pytest.mark.parametrize("limits", [Limits(idle_timeout=0.05), Limits(call_timeout=0.05)])
@pytest.mark.parametrize("begins", [True, False])
async def test_silence_is_bounded(rest: RestWorld, serve: Serve, limits: Limits, begins: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        if begins:
            await stream.prepare(request)
        await asyncio.Event().wait()
        return stream

    with pytest.raises(UpstreamUnreachable, match="upstream notes did not answer in time"):
        await rest.call(weather(await serve(handler), limits=limits))


async def test_an_api_that_is_away_is_left_alone_for_a_while(rest: RestWorld, serve: Serve) -> None:
    upstream = weather(await serve(says(b"", status=503)))
    for _ in range(5):
        assert (await rest.call(upstream))["isError"] is True
    with pytest.raises(UpstreamUnreachable, match="is tried again in"):
        await rest.call(upstream)


async def test_private_addresses_are_refused(serve: Serve) -> None:
    world = RestWorld(allow_private=False)
    url = await serve(says(b"{}"))
    for address in (url, url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "[::ffff:127.0.0.1]")):
        with pytest.raises((AddressForbidden, UpstreamUnreachable)):
            await world.call(weather(address))
    await world.ways.stop()


async def test_leaving_an_exchange_ends_its_request(rest: RestWorld, serve: Serve) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        begun.set()
        try:
            while True:
                await stream.write(b" ")
                await asyncio.sleep(0)
        finally:
            ended.set()

    call = asyncio.create_task(rest.call(weather(await serve(handler), RestCall("GET", "/slow"))))
    async with asyncio.timeout(5):
        await begun.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await ended.wait()


async def test_listening_hears_nothing_until_it_is_left(rest: RestWorld) -> None:
    upstream = weather("http://127.0.0.1:9")
    async with rest.transport.listen(upstream, "ada", "session", ()) as notifications:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(notifications)
    await rest.transport.end_session(upstream, "session")


async def test_long_answers_share_the_room_of_the_edge(serve: Serve) -> None:
    go_on = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await response.write(b"x" * 700_000)
        await go_on.wait()
        return response

    rest = RestWorld(max_answer=1_000_000)
    rest.ways.room.most = 1_000_000
    upstream = weather(await serve(handler))
    first = asyncio.create_task(rest.call(upstream))
    await until(lambda: rest.ways.room.taken > 400_000)
    with pytest.raises(NoRoom):
        await rest.call(upstream)
    go_on.set()
    assert len((await first)["content"][0]["text"]) == 700_000
    assert rest.ways.room.taken == 0
    await rest.ways.stop()
