"""The catalog as its own process on a real bus, asked through the REST application of an edge."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import Request
from nats.aio.msg import Msg

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.messages import subjects
from interlock_common.messages.catalog import (
    AcceptDefinition,
    CatalogItem,
    CreateUpstream,
    Upstream,
    VirtualServer,
    upstream_key,
)
from interlock_common.messages.common import Actor, Empty
from interlock_common.messages.resources import AUDIT, CATALOG, EVENTS
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import TRUST_DOMAIN, EmbeddedBus, free_port
from interlock_common.testing.fixtures import embedded_bus as embedded_bus  # noqa: PLC0414 - a fixture of this module
from interlock_gateway.catalog.testing import ADMIN
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import FakeWorld

START_SECONDS = 60.0
TOOLS_CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


@asynccontextmanager
async def catalog_process(bus: EmbeddedBus, **settings: str) -> AsyncGenerator[None]:
    """A catalog that has an identity and a migrated database, ready when the block begins."""
    port = free_port()
    environment = os.environ | {
        "TRUST_DOMAIN": TRUST_DOMAIN,
        "BUS_URL": bus.url,
        "IDENTITY_DIR": str(bus.identity("catalog").directory),
        "DATABASE_URL": f"sqlite:///{bus.directory}/catalog.db",
        "HEALTH_PORT": str(port),
        **settings,
    }
    command = (sys.executable, "-m", "interlock_gateway.catalog")
    assert await (await asyncio.create_subprocess_exec(*command, "migrate", env=environment)).wait() == 0
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        async with httpx2.AsyncClient() as client, asyncio.timeout(START_SECONDS):
            while not await _ready(client, port):
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        assert await process.wait() == 0


async def _ready(client: httpx2.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
async def edge(embedded_bus: EmbeddedBus) -> AsyncGenerator[Bus]:
    """The bus of an edge, with the streams that audit would have made."""
    audit = embedded_bus.bus("audit")
    await audit.start()
    await kv.ensure_stream(audit, AUDIT)
    await kv.ensure_stream(audit, EVENTS)
    await audit.stop()
    bus = embedded_bus.bus("gateway")
    await bus.start()
    yield bus
    await bus.stop()


@asynccontextmanager
async def rest(bus: Bus, mirror: Mirror[CatalogItem]) -> AsyncGenerator[httpx2.AsyncClient]:
    async def authenticate(_request: Request) -> Actor:
        return ADMIN

    deps = replace(FakeWorld().dependencies(), bus=bus, authenticate=authenticate, catalog=mirror)
    transport = httpx2.ASGITransport(create_rest_app(deps))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
        yield client


async def stored_messages(bus: EmbeddedBus, stream: str, service: str) -> int:
    asking = bus.bus(service)
    await asking.start()
    try:
        return (await asking.js.stream_info(stream)).state.messages
    finally:
        await asking.stop()


async def seen(mirror: Mirror[CatalogItem], key: str, *, present: bool = True) -> CatalogItem | None:
    """What the mirror says of ``key`` once it is (or is no more) there."""
    changed = asyncio.Event()
    mirror.on_change(lambda _key, _item: changed.set())
    async with asyncio.timeout(10):
        while (mirror.get(key) is not None) != present:
            changed.clear()
            await changed.wait()
    return mirror.get(key)


async def test_an_upstream_travels_from_rest_to_every_mirror(
    embedded_bus: EmbeddedBus, edge: Bus, notes: str, legacy_weather: str
) -> None:
    mirror: Mirror[CatalogItem] = Mirror(edge, CATALOG, Upstream | VirtualServer)  # pyright: ignore[reportArgumentType]
    async with catalog_process(embedded_bus, ALLOW_PRIVATE_UPSTREAMS="true"):
        await mirror.start()
        await mirror.wait_complete()
        async with rest(edge, mirror) as client:
            made = await client.post("/gateways", json={"name": "Notes", "url": notes})
            assert made.status_code == 201, made.text
            key = upstream_key(made.json()["id"])
            upstream = await seen(mirror, key)
            assert isinstance(upstream, Upstream)
            assert (upstream.era, upstream.slug, len(upstream.tools)) == ("modern", "notes", 5)

            weather = await client.post("/gateways", json={"name": "Weather", "url": legacy_weather})
            assert (weather.status_code, weather.json()["era"]) == (201, "legacy")
            await seen(mirror, upstream_key(weather.json()["id"]))
            tools = (await client.get("/tools")).json()
            assert {tool["name"] for tool in tools} >= {"notes-add_note", "weather-forecast"}

            server = {"name": "desk", "id": "desk", "associated_tools": [f"{upstream.id}/add_note"]}
            assert (await client.post("/servers", json=server)).status_code == 201
            assert isinstance(await seen(mirror, "server.desk"), VirtualServer)

            refused = await client.post("/gateways", json={"name": "None", "url": "http://127.0.0.1:9/mcp"})
            assert (refused.status_code, refused.json()["fields"]["cause"]) == (502, "refused")
            again = await client.post("/gateways", json={"name": "notes", "url": notes})
            assert (again.status_code, again.json()["type"]) == (409, "urn:interlock:error:name_taken")

            assert (await client.delete(f"/gateways/{weather.json()['id']}")).status_code == 200
            await seen(mirror, upstream_key(weather.json()["id"]), present=False)
    assert await stored_messages(embedded_bus, "EVENTS", "audit") == 3
    assert await stored_messages(embedded_bus, "AUDIT", "audit") >= 1

    owner = embedded_bus.bus("catalog")
    await owner.start()
    await kv.delete(owner, CATALOG, key)
    await kv.put(owner, CATALOG, upstream_key("zombie"), upstream)
    await owner.stop()
    await seen(mirror, upstream_key("zombie"))
    async with catalog_process(embedded_bus, ALLOW_PRIVATE_UPSTREAMS="true"):
        assert await seen(mirror, key) == upstream
        await seen(mirror, upstream_key("zombie"), present=False)
    await mirror.stop()


async def test_private_addresses_are_refused_by_default(embedded_bus: EmbeddedBus, edge: Bus, notes: str) -> None:
    mirror: Mirror[CatalogItem] = Mirror(edge, CATALOG, Upstream | VirtualServer)  # pyright: ignore[reportArgumentType]
    async with catalog_process(embedded_bus), rest(edge, mirror) as client:
        answer = await client.post("/gateways", json={"name": "Notes", "url": notes})
    assert (answer.status_code, answer.json()["type"]) == (502, "urn:interlock:error:upstream_address_forbidden")


class Workers:
    """Processes that answer on the bus and know nothing but their lists; all have the same tool."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.schema: dict[str, Any] = {}

    async def answer(self, message: Msg) -> None:
        request = msgspec.json.decode(message.data)
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        if request["method"] == "tools/list":
            answer["result"] = {"tools": [{"name": "greet", "inputSchema": self.schema}]}
        else:
            answer["error"] = {"code": -32601, "message": "no such method"}
        await self.bus.nc.publish(message.reply, msgspec.json.encode(answer))


async def until_quarantined(mirror: Mirror[CatalogItem], upstream_id: str) -> Upstream:
    changed = asyncio.Event()
    mirror.on_change(lambda _key, _item: changed.set())
    async with asyncio.timeout(10):
        while True:
            item = mirror.get(upstream_key(upstream_id))
            if isinstance(item, Upstream) and item.tools[0].standing == "quarantined":
                return item
            changed.clear()
            await changed.wait()


async def test_drift_of_a_worker_is_in_force_everywhere_within_100_ms(embedded_bus: EmbeddedBus, edge: Bus) -> None:
    mirror: Mirror[CatalogItem] = Mirror(edge, CATALOG, Upstream | VirtualServer)  # pyright: ignore[reportArgumentType]
    workers = Workers(embedded_bus.bus("worker"))
    await workers.bus.start()
    await workers.bus.nc.subscribe("mcp.worker.*", cb=workers.answer)  # pyright: ignore[reportUnknownMemberType]
    async with catalog_process(embedded_bus):
        await mirror.start()
        await mirror.wait_complete()
        made: list[Upstream] = []
        for number in range(5):
            request = CreateUpstream(ADMIN, f"Greeter {number}", f"worker://greeter{number}", transport="worker")
            made.append(await edge.request(subjects.CATALOG_UPSTREAM_CREATE, request, Upstream, timeout=20))
        assert [(each.tools[0].name, each.reachable) for each in made] == [("greet", True)] * 5
        workers.schema["properties"] = {"cc": {}}
        took: list[float] = []
        for upstream in made:
            began = time.monotonic()
            await workers.bus.nc.publish(subjects.changed(upstream.id), TOOLS_CHANGED)
            shown = await until_quarantined(mirror, upstream.id)
            took.append(time.monotonic() - began)
            assert shown.tools[0].reason == "widened: parameter cc of inputSchema is new"
            accept = AcceptDefinition(ADMIN, upstream.id, "tool", "greet", shown.tools[0].digest)
            await edge.request(subjects.CATALOG_DEFINITION_ACCEPT, accept, Empty)
    assert sorted(took)[2] < 0.1, took
    await mirror.stop()
    await workers.bus.stop()


class Announcing:
    """An HTTP server of the stateless revision that tells whoever listens when its tool changed."""

    def __init__(self) -> None:
        self.schema: dict[str, Any] = {}
        self.listened_to = asyncio.Event()
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        message = msgspec.json.decode(await request.read())
        results: dict[str, Any] = {
            "server/discover": {
                "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": True}},
            },
            "tools/list": {"tools": [{"name": "greet", "inputSchema": self.schema}]},
        }  # fmt: skip
        if message["method"] == "subscriptions/listen":
            return await self.tell(request)
        body = {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def tell(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.listened_to.set()
        await self.changed.wait()
        await response.write(b"data: " + TOOLS_CHANGED + b"\n\n")
        await self.ended.wait()
        return response


async def test_an_upstream_that_announces_a_change_over_http_is_looked_at_at_once(
    embedded_bus: EmbeddedBus, edge: Bus
) -> None:
    mirror: Mirror[CatalogItem] = Mirror(edge, CATALOG, Upstream | VirtualServer)  # pyright: ignore[reportArgumentType]
    announcing = Announcing()
    app = web.Application()
    app.router.add_post("/mcp", announcing.answer)
    settings = {"ALLOW_PRIVATE_UPSTREAMS": "true", "REFRESH_INTERVAL": "3600"}
    async with TestServer(app) as server, catalog_process(embedded_bus, **settings):
        await mirror.start()
        await mirror.wait_complete()
        request = CreateUpstream(ADMIN, "Announcing", str(server.make_url("/mcp")))
        made = await edge.request(subjects.CATALOG_UPSTREAM_CREATE, request, Upstream, timeout=20)
        async with asyncio.timeout(20):
            await announcing.listened_to.wait()
        announcing.schema["properties"] = {"cc": {}}
        announcing.changed.set()
        await until_quarantined(mirror, made.id)
        announcing.ended.set()
    await mirror.stop()


@pytest.mark.parametrize(("arguments", "settings"), [(("serve",), {}), ((), {"REFRESH_INTERVAL": "0"})])
async def test_a_wrong_start_is_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "interlock_gateway.catalog", *arguments, env=os.environ | settings, cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.count(b"\n") == 1
