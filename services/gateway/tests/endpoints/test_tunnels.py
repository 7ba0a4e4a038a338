"""Servers that dial in, at two real edges on a real bus."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import msgspec
import pytest

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages import subjects
from interlock_common.messages.catalog import CreateUpstream, Upstream
from interlock_common.messages.common import Actor, ById
from interlock_common.subscriptions import Subscriptions
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints.tunnels import PATH, TunnelEndpoint
from interlock_gateway.errors import UpstreamUnreachable
from interlock_gateway.exchanges.client import ExchangeClient
from interlock_gateway.exchanges.server import ExchangeServer
from interlock_gateway.exchanges.tunnels import Tunnels
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import FakeWorld
from interlock_gateway.server import EdgeServer, listen, make_server
from interlock_gateway.testing.callers import ADA, EVE, ROOT, Signer
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.upstreams.bus import BusTransport
from interlock_gateway.upstreams.transport import UpstreamRequest

_SIGNER = Signer()


@dataclass
class FakeCatalog:
    """Answers as the catalog does: an upstream for each owner and name."""

    upstreams: dict[tuple[str, str], Upstream] = field(default_factory=dict[tuple[str, str], Upstream])
    refreshed: list[str] = field(default_factory=list[str])

    async def create(self, request: CreateUpstream) -> Upstream:
        key = (request.actor.principal, request.name)
        new = Upstream(f"u{len(self.upstreams)}", request.name, "x", "", "legacy", "", key[0], transport="reverse")
        return self.upstreams.setdefault(key, new)

    async def refresh(self, request: ById) -> Upstream:
        self.refreshed.append(request.id)
        return next(one for one in self.upstreams.values() if one.id == request.id)


@dataclass
class Edge:
    """One edge: the tunnels, the REST routes about them, and a way to ask what dialled in."""

    bus: Bus
    world: EdgeWorld
    tunnels: Tunnels
    transport: BusTransport
    server: EdgeServer
    serving: asyncio.Task[None]
    listener: socket.socket
    exchanges: ExchangeServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    async def stop(self) -> None:
        await self.tunnels.stop()
        self.server.should_exit = True
        await self.serving
        self.listener.close()
        await self.exchanges.stop()
        await self.bus.stop()


async def start_edge(embedded: EmbeddedBus) -> Edge:
    bus, world = embedded.bus("gateway"), EdgeWorld(_SIGNER)
    await bus.start()
    subscriptions = Subscriptions(bus)
    exchanges, client = ExchangeServer(bus, subscriptions), ExchangeClient(bus, subscriptions, max_answer=10**6)
    await exchanges.start()
    await client.start()
    tunnels = Tunnels(bus, subscriptions, exchanges)
    await tunnels.start()

    async def actor(request: Any) -> Actor:
        header = request.headers.get("authorization")
        return world.authenticator.caller(header.encode() if header else None).actor()

    rest = create_rest_app(replace(FakeWorld().dependencies(), bus=bus, authenticate=actor, tunnels=tunnels))

    def dialling(scope: dict[str, Any]) -> Caller:
        return world.authenticator.caller(dict(scope["headers"]).get(b"authorization"))

    endpoint = TunnelEndpoint(tunnels, dialling, world.live, SYSTEM_CLOCK)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (endpoint if scope["type"] == "websocket" else rest)(scope, receive, send)

    server, listener = make_server(app), listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    return Edge(bus, world, tunnels, BusTransport(client), server, serving, listener, exchanges)


@dataclass
class World:
    edges: tuple[Edge, Edge]
    catalog: FakeCatalog
    http: aiohttp.ClientSession

    def bearer(self, principal: str = ROOT, **changes: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {_SIGNER.token(principal, **changes)}"}

    @asynccontextmanager
    async def dial(
        self, name: str = "notes", principal: str = ROOT, edge: int = 0, **changes: Any
    ) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        url = f"{self.edges[edge].url}{PATH}?name={name}"
        async with self.http.ws_connect(url, headers=self.bearer(principal, **changes)) as opened:
            yield opened

    async def sessions(self, principal: str = ROOT, edge: int = 0) -> list[Any]:
        url = f"{self.edges[edge].url}/reverse-proxy/sessions"
        async with self.http.get(url, headers=self.bearer(principal)) as response:
            assert response.status == 200
            return await response.json()


@pytest.fixture
async def world(embedded_bus: EmbeddedBus) -> AsyncGenerator[World]:
    catalog, bus = FakeCatalog(), embedded_bus.bus("catalog")
    bus.endpoint(subjects.CATALOG_UPSTREAM_CREATE, CreateUpstream, catalog.create)
    bus.endpoint(subjects.CATALOG_UPSTREAM_REFRESH, ById, catalog.refresh)
    await bus.start()
    edges = (await start_edge(embedded_bus), await start_edge(embedded_bus))
    async with aiohttp.ClientSession() as http:
        yield World(edges, catalog, http)
    for edge in edges:
        await edge.stop()
    await bus.stop()


async def serve(opened: aiohttp.ClientWebSocketResponse, *, hanging: asyncio.Event | None = None) -> None:
    """A server of the handshake era with one tool, at the far end of a tunnel.

    Calls are never answered where there is ``hanging``: it is set when there is one.
    """
    async for message in opened:
        request = msgspec.json.decode(message.data)
        match request.get("method"):
            case "initialize":
                result: Any = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "far"}}
            case "tools/call" if hanging is not None:
                hanging.set()
                continue
            case "tools/call":
                result = {"content": [{"type": "text", "text": "from afar"}]}
            case "server/discover":
                await opened.send_json(
                    {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no"}}
                )
                continue
            case _:
                continue
        await opened.send_json({"jsonrpc": "2.0", "id": request["id"], "result": result})


@asynccontextmanager
async def standing(
    world: World, *, hanging: asyncio.Event | None = None, **dial: Any
) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
    """A tunnel that is listed at both edges."""
    before = len(world.edges[1].tunnels.mirror.items)
    async with world.dial(**dial) as opened:
        serving = asyncio.create_task(serve(opened, hanging=hanging))
        await until(lambda: all(len(edge.tunnels.mirror.items) > before for edge in world.edges))
        yield opened
        await opened.close()
        await serving


def call(upstream: Upstream) -> UpstreamRequest:
    return UpstreamRequest(upstream, "tools/call", "x", b'{"name":"x"}', ADA, "s1")


def only(world: World) -> Upstream:
    (upstream,) = world.catalog.upstreams.values()
    return upstream


async def ask(edge: Edge, upstream: Upstream) -> Any:
    async with edge.transport.open(call(upstream)) as exchange:
        return [msgspec.json.decode(message) async for message in exchange][-1]


async def test_a_server_that_dials_in_at_one_edge_is_called_through_any(world: World) -> None:
    async with standing(world):
        for edge in world.edges:
            answer = await ask(edge, only(world))
            assert answer["result"]["content"][0]["text"] == "from afar"
        await until(lambda: only(world).id in world.catalog.refreshed)


async def test_a_tunnel_that_ends_is_gone_at_once_and_the_same_upstream_comes_back(world: World) -> None:
    async with standing(world):
        upstream = only(world)
    await until(lambda: not any(edge.tunnels.mirror.items for edge in world.edges))
    with pytest.raises(UpstreamUnreachable, match="is away"):
        await ask(world.edges[1], upstream)
    async with standing(world, edge=1):
        assert (await ask(world.edges[0], upstream))["result"]
    assert only(world) == upstream


async def test_calls_that_run_fail_when_their_tunnel_ends(world: World) -> None:
    hanging = asyncio.Event()
    async with standing(world, hanging=hanging) as opened, world.edges[1].transport.open(call(only(world))) as exchange:
        await asyncio.wait_for(hanging.wait(), 10)
        ending = asyncio.create_task(opened.close())
        with pytest.raises(UpstreamUnreachable, match="the tunnel is closed"):
            await anext(aiter(exchange))
        await ending


async def test_sessions_are_listed_at_every_edge_for_whoever_may_know(world: World) -> None:
    for edge in world.edges:
        edge.world.principals.items = {
            key: msgspec.structs.replace(one, permissions=(*one.permissions, "gateways.create"))
            for key, one in edge.world.principals.items.items()
        }
    async with standing(world, principal=ADA, teams=["red"]), standing(world, name="other"):
        assert {one["name"] for one in await world.sessions(ROOT, 1)} == {"notes", "other"}
        (own,) = await world.sessions(ADA, 1)
        assert (own["name"], own["owner"]) == ("notes", ADA)
        assert len(own["session_id"]) == 32
        assert await world.sessions(EVE) == []


async def test_without_a_token_nothing_is_listed_and_nobody_dials_in(world: World) -> None:
    url = world.edges[0].url
    async with world.http.get(f"{url}/reverse-proxy/sessions") as response:
        assert response.status == 401
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.http.ws_connect(f"{url}{PATH}?name=x")
    assert refused.value.status == 401
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.http.ws_connect(f"{url}{PATH}", headers=world.bearer())
    assert refused.value.status == 400


async def test_dialling_in_needs_the_permission(world: World) -> None:
    async with world.dial(principal=EVE) as opened:
        message = await opened.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4403)
        assert "gateways.create" in str(message.extra)


async def test_ids_are_made_by_the_gateway_whatever_a_client_says(world: World) -> None:
    async with standing(world, name="notes&session_id=mine&id=mine"):
        (session,) = await world.sessions()
        assert session["session_id"] != "mine"


async def test_closing_a_session_at_another_edge_ends_it_for_good(world: World) -> None:
    async with world.dial() as opened:
        serving = asyncio.create_task(serve(opened))
        await until(lambda: bool(world.edges[1].tunnels.mirror.items))
        (session,) = await world.sessions()
        url = f"{world.edges[1].url}/reverse-proxy/sessions/{session['session_id']}"
        async with world.http.delete(url, headers=world.bearer(EVE)) as response:
            assert response.status == 404
        async with world.http.delete(url, headers=world.bearer()) as response:
            assert response.status == 200
        await serving
        assert opened.close_code == 4410


async def test_the_newest_connection_of_a_name_counts(world: World) -> None:
    async with world.dial() as old:
        serving = asyncio.create_task(serve(old))
        await until(lambda: bool(world.edges[0].tunnels.mirror.items))
        async with world.dial(edge=1) as new:
            other = asyncio.create_task(serve(new))
            await serving
            assert old.close_code == 4410
            assert (await ask(world.edges[0], only(world)))["result"]
            await new.close()
            await other


async def test_a_revoked_token_ends_its_tunnel(world: World) -> None:
    async with world.dial(jti="dialled") as opened:
        serving = asyncio.create_task(serve(opened))
        await until(lambda: bool(world.edges[0].tunnels.mirror.items))
        world.edges[0].world.live.end("dialled")
        await serving
        assert opened.close_code == 4401


async def test_a_message_over_the_bound_ends_the_tunnel_and_nothing_else(world: World) -> None:
    async with standing(world, name="good"), world.dial() as opened:
        with suppress(aiohttp.ClientError, OSError):  # it may be ended while it still sends
            await opened.send_str("x" * (8 * 1024 * 1024))
        while (await opened.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        assert [one["name"] for one in await world.sessions()] == ["good"]


async def test_an_edge_that_ends_closes_its_tunnels(world: World) -> None:
    async with world.dial() as opened:
        serving = asyncio.create_task(serve(opened))
        await until(lambda: bool(world.edges[1].tunnels.mirror.items))
        await world.edges[0].tunnels.stop()
        await serving
        assert opened.close_code == 1001
        await until(lambda: not world.edges[1].tunnels.mirror.items)
