"""Discovery of all that an upstream offers, over HTTP and over transports."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from interlock_common.messages.catalog import Definition, Upstream
from interlock_gateway.upstreams.discovery.asking import Introduction
from interlock_gateway.upstreams.discovery.discovery import Discovered, discover
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable
from interlock_gateway.upstreams.discovery.http_asking import HttpAsking
from interlock_gateway.upstreams.discovery.transport_asking import TransportAsking
from interlock_gateway.upstreams.transport import Exchange, UpstreamRequest

type Results = Mapping[str, Any]

TOOL: dict[str, Any] = {"name": "t", "inputSchema": {}}
RESOURCE = {"uri": "notes://all", "name": "all"}
TEMPLATE = {"uriTemplate": "notes://{id}", "name": "one"}
PROMPT = {"name": "sum up", "arguments": [{"name": "style"}]}
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "prompts": {}, "logging": None}
LISTS: dict[str, Any] = {
    "tools/list": {"tools": [TOOL]},
    "resources/list": {"resources": [RESOURCE]},
    "resources/templates/list": {"resourceTemplates": [TEMPLATE]},
    "prompts/list": {"prompts": [PROMPT]},
}
MODERN: dict[str, Any] = {
    "server/discover": {
        "supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "instructions": "Be\0brief.",
    },
    **LISTS,
}  # fmt: skip


def names(found: Discovered) -> list[list[str]]:
    return [[each.name for each in part] for part in (found.tools, found.resources, found.templates, found.prompts)]


def answered(results: Results, message: Mapping[str, Any]) -> bytes:
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] in results:
        answer["result"] = results[message["method"]]
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    return msgspec.json.encode(answer)


type Serve = Callable[[Results], Awaitable[tuple[str, list[Any]]]]


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    """Starts a server that answers each method with its result, and keeps what it was asked."""
    servers: list[TestServer] = []

    async def start(results: Results) -> tuple[str, list[Any]]:
        asked: list[Any] = []

        async def handler(request: web.Request) -> web.Response:
            message = cast("dict[str, Any]", msgspec.json.decode(await request.read()))
            asked.append(message["method"])
            if "id" not in message:
                return web.Response(status=202)
            headers = {"Mcp-Session-Id": "s"} if message["method"] == "initialize" else {}
            body = answered(results, message)
            return web.Response(body=body, content_type="application/json", headers=headers)

        async def end(_request: web.Request) -> web.Response:
            asked.append("DELETE")
            return web.Response()

        app = web.Application()
        app.router.add_post("/mcp", handler)
        app.router.add_delete("/mcp", end)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/mcp")), asked

    yield start
    for server in servers:
        await server.close()


async def test_everything_that_is_declared_is_found(http: aiohttp.ClientSession, serve: Serve) -> None:
    url, asked = await serve(MODERN)
    found = await discover(HttpAsking(http, URL(url)), timeout=10)
    assert names(found) == [["t"], ["notes://all"], ["notes://{id}"], ["sum up"]]
    assert msgspec.json.decode(found.capabilities) == CAPABILITIES
    assert found.instructions == "Bebrief."
    assert asked == ["server/discover", *LISTS]


async def test_what_is_not_declared_is_not_asked_for(http: aiohttp.ClientSession, serve: Serve) -> None:
    said: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"prompts": {}, "tools": None}}
    url, asked = await serve(MODERN | {"server/discover": said})
    assert names(await discover(HttpAsking(http, URL(url)), timeout=10)) == [[], [], [], ["sum up"]]
    assert asked == ["server/discover", "prompts/list"]


@pytest.mark.parametrize("revision", ["2025-03-26", "2024-11-05"])
async def test_a_legacy_server_is_found_with_all_it_has_and_its_session_ended(
    http: aiohttp.ClientSession, serve: Serve, revision: str
) -> None:
    said = {"protocolVersion": revision, "capabilities": CAPABILITIES, "instructions": "hello"}
    url, asked = await serve({"initialize": said, **LISTS})
    found = await discover(HttpAsking(http, URL(url)), timeout=10)
    assert (found.era, found.protocol_version, found.instructions) == ("legacy", revision, "hello")
    assert names(found) == [["t"], ["notes://all"], ["notes://{id}"], ["sum up"]]
    assert asked[-1] == "DELETE"


async def test_a_tool_with_marks_that_no_client_may_follow_is_left_out_and_told(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    odd = {"name": "odd", "inputSchema": {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}}}
    tools = {"tools/list": {"tools": [TOOL, odd]}}
    url, _ = await serve(MODERN | tools)
    found = await discover(HttpAsking(http, URL(url)), timeout=10)
    assert [each.name for each in found.tools] == ["t"]
    assert found.left_out == "left out: odd (x-mcp-header of 'a', which is no string, integer or boolean)"
    said: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
    url, _ = await serve({"initialize": said} | tools)
    found = await discover(HttpAsking(http, URL(url)), timeout=10)
    assert ([each.name for each in found.tools], found.left_out) == (["t", "odd"], "")


async def test_many_tools_that_are_left_out_are_told_in_few_words(http: aiohttp.ClientSession, serve: Serve) -> None:
    schema = {"properties": {"a": {"x-mcp-header": ""}}}
    tools = [{"name": f"t{number}", "inputSchema": schema} for number in range(30)]
    url, _ = await serve(MODERN | {"tools/list": {"tools": tools}})
    found = await discover(HttpAsking(http, URL(url)), timeout=10)
    assert found.left_out.endswith("t4 (x-mcp-header of 'a' is no name of a header) and 25 more")


async def test_a_server_of_resources_may_lack_templates_and_nothing_else(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    without = {method: result for method, result in MODERN.items() if method != "resources/templates/list"}
    url, _ = await serve(without)
    assert names(await discover(HttpAsking(http, URL(url)), timeout=10))[1:3] == [["notes://all"], []]
    url, _ = await serve({method: result for method, result in MODERN.items() if method != "prompts/list"})
    with pytest.raises(UpstreamUnusable, match="prompts/list"):
        await discover(HttpAsking(http, URL(url)), timeout=10)


async def test_only_the_list_that_changed_is_asked_for(http: aiohttp.ClientSession, serve: Serve) -> None:
    url, asked = await serve(MODERN)
    known = Introduction("modern", "2026-07-28", msgspec.json.encode(CAPABILITIES))
    found = await discover(HttpAsking(http, URL(url)), timeout=10, known=known, kinds=frozenset({"tool"}))
    assert (asked, names(found)) == (["tools/list"], [["t"], [], [], []])
    assert found.asked == {"tool"}


@pytest.mark.parametrize(
    ("method", "member", "odd"),
    [
        ("resources/list", "resources", {"name": "no uri"}),
        ("resources/list", "resources", {"uri": "notes://all"}),
        ("resources/list", "resources", {"uri": "notes://\n", "name": "x"}),
        ("resources/list", "resources", {"uri": "x" * 2049, "name": "x"}),
        ("resources/templates/list", "resourceTemplates", {"uri": "notes://all", "name": "x"}),
        ("prompts/list", "prompts", {"name": ""}),
        ("prompts/list", "prompts", {"name": "a", "arguments": [5]}),
    ],
)
async def test_one_definition_that_no_client_could_use_refuses_all_and_is_named(
    http: aiohttp.ClientSession, serve: Serve, method: str, member: str, odd: Any
) -> None:
    url, _ = await serve(MODERN | {method: {member: [*LISTS[method][member], odd]}})
    with pytest.raises(UpstreamUnusable, match=r"(lists|names) a (resource|template|prompt)") as caught:
        await discover(HttpAsking(http, URL(url)), timeout=10)
    assert caught.value.cause == "protocol"


@pytest.mark.parametrize("said", [{"capabilities": []}, {"capabilities": {"x": "y" * 70_000}},
                                  {"capabilities": {}, "instructions": "y" * 70_000}])  # fmt: skip
async def test_an_introduction_over_its_bounds_is_refused(
    http: aiohttp.ClientSession, serve: Serve, said: dict[str, Any]
) -> None:
    url, _ = await serve({"server/discover": {"supportedVersions": ["2026-07-28"], **said}})
    with pytest.raises(UpstreamUnusable):
        await discover(HttpAsking(http, URL(url)), timeout=10)


@dataclass
class FakeTransport:
    """Answers each method with its result; what it was asked and was answered is kept."""

    results: Results
    asked: list[UpstreamRequest] = field(default_factory=list[UpstreamRequest])
    answers: list[Any] = field(default_factory=list[Any])
    before: tuple[bytes, ...] = ()
    ended: int = 0

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncGenerator[Exchange]:
        self.asked.append(request)
        yield FakeExchange(self, request)

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError(upstream, principal, session_key, uris)

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        raise NotImplementedError(upstream, principal, session_key, message)

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        assert (upstream.id, session_key) == ("u1", self.asked[0].session_key)
        self.ended += 1


@dataclass
class FakeExchange:
    transport: FakeTransport
    request: UpstreamRequest

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for message in self.transport.before:
            yield message
        if self.request.method != "hang":
            yield answered(self.transport.results, {"id": 1, "method": self.request.method})

    async def answer(self, message: bytes) -> None:
        self.transport.answers.append(msgspec.json.decode(message))


def upstream(**changes: Any) -> Upstream:
    given: dict[str, Any] = {"transport": "worker", "url": "worker://notes"}
    return Upstream("u1", "Notes", "notes", era="modern", protocol_version="", owner="me", **(given | changes))


DESCRIBED: dict[str, Any] = {
    "era": "legacy",
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "instructions": "hi",
}


async def find(way: FakeTransport, **changes: Any) -> Discovered:
    return await discover(TransportAsking(way, upstream(**changes)), timeout=10)


@pytest.mark.parametrize("revision", ["2025-06-18", "2024-11-05"])
async def test_what_runs_behind_a_connector_describes_itself(revision: str) -> None:
    transport = FakeTransport({"interlock/describe": DESCRIBED | {"protocolVersion": revision}, **LISTS})
    found = await find(transport, transport="stdio", url="")
    assert (found.era, found.protocol_version, found.instructions) == ("legacy", revision, "hi")
    assert names(found) == [["t"], [], [], []]
    assert [request.method for request in transport.asked] == ["interlock/describe", "tools/list"]
    assert {request.upstream.era for request in transport.asked[1:]} == {"legacy"}
    assert b"_meta" not in transport.asked[1].params
    assert (transport.asked[0].principal, transport.ended) == ("me", 1)


async def test_a_worker_that_describes_nothing_is_taken_for_modern() -> None:
    transport = FakeTransport(MODERN)
    found = await find(transport)
    assert (found.era, found.instructions) == ("modern", "Bebrief.")
    assert names(found) == [["t"], ["notes://all"], ["notes://{id}"], ["sum up"]]
    assert "io.modelcontextprotocol/protocolVersion" in msgspec.json.decode(transport.asked[-1].params)["_meta"]


async def test_a_worker_that_only_knows_its_lists_has_what_it_lists() -> None:
    found = await find(FakeTransport({"tools/list": {"tools": [TOOL]}}))
    assert (found.era, found.capabilities) == ("modern", b"{}")
    assert names(found) == [["t"], [], [], []]


async def test_a_server_over_sse_is_of_the_handshake_era() -> None:
    transport = FakeTransport(LISTS)
    found = await find(transport, transport="sse", url="https://old.example.com/sse")
    assert (found.era, names(found)) == ("legacy", [["t"], ["notes://all"], ["notes://{id}"], ["sum up"]])
    assert all(b"_meta" not in request.params for request in transport.asked)


async def test_requests_of_the_upstream_are_answered_without_asking_anybody() -> None:
    before = (
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}',
        b'{"jsonrpc":"2.0","id":"p","method":"ping"}',
        b'{"jsonrpc":"2.0","id":7,"method":"roots/list"}',
    )
    transport = FakeTransport({"interlock/describe": DESCRIBED | {"capabilities": {}}}, before=before)
    await find(transport)
    assert [(answer["id"], "result" in answer) for answer in transport.answers] == [("p", True), (7, False)]


@pytest.mark.parametrize(
    "said", [DESCRIBED | {"era": "stone"}, DESCRIBED | {"protocolVersion": "1999-01-01"}, {"era": "modern"}, 5, "x"]
)
async def test_a_description_that_fits_nothing_is_refused(said: Any) -> None:
    with pytest.raises(UpstreamUnusable):
        await find(FakeTransport({"interlock/describe": said}))


@pytest.mark.parametrize("noise", [b"", b"no JSON", b"[" * 100_000])
async def test_what_is_no_message_ends_the_discovery(noise: bytes) -> None:
    with pytest.raises(UpstreamUnusable, match="JSON-RPC"):
        await find(FakeTransport(MODERN, before=(noise,)))


async def test_a_farewell_that_hangs_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clinging(FakeTransport):
        async def end_session(self, upstream: Upstream, session_key: str) -> None:
            del upstream, session_key
            await asyncio.Event().wait()

    monkeypatch.setattr("interlock_gateway.upstreams.discovery.discovery._FAREWELL_SECONDS", 0.01)
    found = await find(Clinging(MODERN))
    assert isinstance(found.tools[0], Definition)
