"""Sessions of the handshake era on a real bus, on two edges."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import msgspec
import pytest

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages import resources
from interlock_common.messages.gateway import Session, session_key
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_gateway import streams
from interlock_gateway.sessions import Sessions
from interlock_gateway.testing import EVE, Answer, EdgeWorld, Signer, ask

_SIGNER = Signer()
INITIALIZE = msgspec.json.encode({
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {"roots": {}}, "clientInfo": {"name": "c"}},
})  # fmt: skip
LIST = b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}'


@dataclass
class Edge:
    """One edge of the deployment, with a mirror and a connection of its own."""

    world: EdgeWorld
    mirror: Mirror[Session]
    bus: Bus

    async def ask(
        self, body: bytes = LIST, session: str = "", principal: str = "ada@example.com", method: str = "POST",
        server_id: str | None = None, answer: Answer | None = None,
    ) -> Answer:  # fmt: skip
        headers = {"accept": "text/event-stream"} | ({"mcp-session-id": session} if session else {})
        token = self.world.signer.token(principal)
        return await ask(
            self.world.endpoint(), body, headers, token=token, method=method, server_id=server_id, answer=answer
        )

    async def initialize(self) -> str:
        answer = await self.ask(INITIALIZE)
        assert answer.status == 200
        return answer.headers["mcp-session-id"]


async def _edge(embedded_bus: EmbeddedBus) -> Edge:
    bus = embedded_bus.bus("gateway")
    await bus.start()
    await kv.ensure_bucket(bus, resources.SESSIONS)
    mirror = Mirror(bus, resources.SESSIONS, Session)
    await mirror.start()
    await mirror.wait_complete()
    return Edge(EdgeWorld(_SIGNER, sessions=Sessions(bus, mirror, SYSTEM_CLOCK, lifetime=3600)), mirror, bus)


@pytest.fixture
async def edges(embedded_bus: EmbeddedBus) -> AsyncGenerator[tuple[Edge, Edge]]:
    first, second = await _edge(embedded_bus), await _edge(embedded_bus)
    yield first, second
    for edge in (first, second):
        await edge.mirror.stop()
        await edge.bus.stop()


async def test_a_session_is_known_on_every_edge_at_once(edges: tuple[Edge, Edge]) -> None:
    first, second = edges
    for _ in range(20):
        session = await first.initialize()
        assert (await second.ask(session=session)).json()["result"] == {"tools": []}


async def test_a_session_id_is_random_visible_text_and_never_stored(edges: tuple[Edge, Edge]) -> None:
    first, _ = edges
    ids = {await first.initialize() for _ in range(5)}
    assert len(ids) == 5
    assert all(len(each) >= 43 and each.isascii() and each.isprintable() for each in ids)
    await until(lambda: {session_key(each) for each in ids} <= set(first.mirror.items))
    assert not ids & set(first.mirror.items)


async def test_a_session_belongs_to_its_principal_and_its_endpoint(edges: tuple[Edge, Edge]) -> None:
    first, second = edges
    session = await first.initialize()
    missing = await first.ask(session="never-opened")
    stranger = await second.ask(session=session, principal=EVE)
    elsewhere = await second.ask(session=session, server_id="s1")
    assert missing.status == stranger.status == elsewhere.status == 404
    assert missing.body == stranger.body == elsewhere.body
    for method in ("DELETE", "GET"):
        assert (await second.ask(session=session, principal=EVE, method=method)).status == 404
    assert (await first.ask(session=session)).status == 200


async def test_a_delete_ends_the_session_everywhere_and_its_streams(
    edges: tuple[Edge, Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_CHECK_SECONDS", 0.02)
    first, second = edges
    session = await first.initialize()
    await until(lambda: session_key(session) in first.mirror.items)
    opened = Answer()
    stream = asyncio.create_task(first.ask(session=session, method="GET", answer=opened))
    await until(lambda: b": open" in opened.body)
    assert (await second.ask(session=session, method="DELETE")).status == 204
    await asyncio.wait_for(stream, 5)
    assert opened.complete
    assert [(await edge.ask(session=session)).status for edge in edges] == [404, 404]
    assert (await second.ask(session=session, method="DELETE")).status == 404


async def test_a_revocation_ends_the_stream_of_its_token(edges: tuple[Edge, Edge]) -> None:
    first, _ = edges
    session = await first.initialize()
    opened = Answer()
    stream = asyncio.create_task(first.ask(session=session, method="GET", answer=opened))
    await until(lambda: b": open" in opened.body)
    first.world.revoke()
    await asyncio.wait_for(stream, 5)
    assert opened.complete
    assert (await first.ask(session=session)).status == 401


async def test_a_bus_that_is_away_is_said_so(edges: tuple[Edge, Edge], embedded_bus: EmbeddedBus) -> None:
    first, _ = edges
    session = await first.initialize()
    await until(lambda: session_key(session) in first.mirror.items)
    await embedded_bus.stop(kill=True)
    await until(lambda: not first.bus.connected)
    assert (await first.ask(session=session)).status == 200  # known in memory
    for answer in (await first.ask(session="unknown"), await first.ask(INITIALIZE)):
        assert (answer.status, answer.json()["error"]["data"]["code"]) == (503, "unavailable")
    await embedded_bus.start()
    await until(lambda: all(edge.bus.connected for edge in edges))
