"""Sessions of the handshake era on a real bus, on two edges."""

from collections.abc import AsyncGenerator

import pytest

from interlock_common.messages.gateway import session_key
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_gateway import streams
from interlock_gateway.testing import EVE
from interlock_gateway.testing_edges import Edge, edge_at, initialize_body

INITIALIZE = initialize_body(roots={})


@pytest.fixture
async def edges(embedded_bus: EmbeddedBus) -> AsyncGenerator[tuple[Edge, Edge]]:
    async with edge_at(embedded_bus) as first, edge_at(embedded_bus) as second:
        yield first, second


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
    stream = await first.stream(session)
    assert (await second.ask(session=session, method="DELETE")).status == 204
    assert (await stream.ended()).complete
    assert [(await edge.ask(session=session)).status for edge in edges] == [404, 404]
    assert (await second.ask(session=session, method="DELETE")).status == 404


async def test_a_revocation_ends_the_stream_of_its_token(edges: tuple[Edge, Edge]) -> None:
    first, _ = edges
    session = await first.initialize()
    stream = await first.stream(session)
    first.world.revoke()
    assert (await stream.ended()).complete
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
