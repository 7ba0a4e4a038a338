"""Sessions of the handshake era on a real bus, on two edges."""

import asyncio
from typing import Any

import pytest

from interlock_common import kv
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import UpstreamSession, session_key, upstream_session_key
from interlock_common.messages.resources import UPSTREAM_SESSIONS
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_gateway.sessions import streams
from interlock_gateway.testing.callers import EVE
from interlock_gateway.testing.edges import Edge, initialize_body
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.upstreams.sessions import SHARED

INITIALIZE = initialize_body(roots={})


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


async def test_the_end_of_a_session_is_told_to_its_upstreams(
    edges: tuple[Edge, Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = edges
    ended: list[tuple[str, str]] = []

    class Way:
        async def end_session(self, upstream: Upstream, key: str) -> None:
            ended.append((upstream.id, key))

    def transport(_: Upstream) -> Way:
        return Way()

    monkeypatch.setattr(second.world.upstreams, "transport", transport)
    second.world.register(upstream_at("http://127.0.0.1:9/mcp"))
    session, other = await first.initialize(), await first.initialize()
    for owner in (session, other):
        for upstream in ("u1", "gone"):
            key = upstream_session_key(session_key(owner), upstream)
            await kv.put(first.bus, UPSTREAM_SESSIONS, key, UpstreamSession("x", "2025-11-25"))
    assert (await second.ask(session=session, method="DELETE")).status == 204
    await until(lambda: not second.world.traffic._background)  # pyright: ignore[reportPrivateUsage]
    assert ended == [("u1", f"{SHARED}{session_key(session)}")]
    left = [
        key
        for key in await kv.keys(first.bus, UPSTREAM_SESSIONS, "*.*")
        if await kv.get(first.bus, UPSTREAM_SESSIONS, key, UpstreamSession)
    ]
    assert sorted(left) == sorted(upstream_session_key(session_key(other), each) for each in ("u1", "gone"))


async def test_a_principal_has_only_so_many_sessions_at_all_edges(edges: tuple[Edge, Edge]) -> None:
    first, second = edges
    for edge in edges:
        edge.world.sessions._per_principal = 3  # pyright: ignore[reportPrivateUsage]
    opened = [await first.initialize() for _ in range(2)] + [await second.initialize()]
    await until(lambda: all(len(edge.mirror.items) == 3 for edge in edges))
    for edge in edges:
        refused = await edge.ask(INITIALIZE)
        assert (refused.status, refused.headers["retry-after"]) == (429, "60")
        assert "at most 3 sessions" in refused.json()["error"]["message"]
    assert (await first.ask(INITIALIZE, principal=EVE)).status == 200
    assert (await second.ask(session=opened[0], method="DELETE")).status == 204
    await until(lambda: session_key(opened[0]) not in first.mirror.items)
    assert (await first.ask(INITIALIZE)).status == 200


async def test_the_end_of_a_session_reaches_its_processes_and_the_streams_of_every_edge(
    edges: tuple[Edge, Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[int, str]] = []

    def ways(number: int) -> Any:
        class Way:
            async def end_session(self, upstream: Upstream, key: str) -> None:
                assert key == f"{SHARED}{session_key(session)}"
                ended.append((number, upstream.id))

        def way(_: Upstream) -> Way:
            return Way()

        return way

    for number, edge in enumerate(edges):
        monkeypatch.setattr(edge.world.upstreams, "transport", ways(number))
        for transport in ("sse", "stdio", "reverse", "worker"):
            edge.world.register(upstream_at("", id=transport, name=transport, slug=transport, era="legacy",
                                            transport=transport))  # fmt: skip
        edge.world.register(upstream_at("", id="new", name="new", slug="new", transport="stdio"))
    first, second = edges
    session = await first.initialize()
    await until(lambda: session_key(session) in second.mirror.items)
    assert (await first.ask(session=session, method="DELETE")).status == 204
    await until(lambda: {(0, "stdio"), (0, "sse"), (1, "sse")} == set(ended))
    await until(lambda: not any(edge.world.traffic._background for edge in edges))  # pyright: ignore[reportPrivateUsage]
    assert {upstream for _, upstream in ended} == {"stdio", "sse"}
    assert ended.count((0, "stdio")) == 1


async def test_a_websocket_that_ends_ends_its_session_at_the_upstreams(
    edges: tuple[Edge, Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = edges
    ended: list[str] = []

    class Way:
        async def end_session(self, _upstream: Upstream, key: str) -> None:
            ended.append(key)

    def transport(_: Upstream) -> Way:
        return Way()

    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def hear(_: object) -> None:
        """What the edge says is of no interest."""

    monkeypatch.setattr(first.world.upstreams, "transport", transport)
    first.world.register(upstream_at("http://127.0.0.1:9/mcp"))
    said.put_nowait({"type": "websocket.connect"})
    said.put_nowait({"type": "websocket.receive", "text": INITIALIZE.decode()})
    bearer = f"Bearer {first.world.signer.token()}".encode()
    scope = {"type": "websocket", "path": "/ws", "headers": [(b"authorization", bearer)], "client": ("127.0.0.1", 9)}
    serving = asyncio.create_task(first.world.ws()(scope, said.get, hear, None))
    await until(lambda: len(second.mirror.items) == 1)
    (key,) = second.mirror.items
    await kv.put(first.bus, UPSTREAM_SESSIONS, upstream_session_key(key, "u1"), UpstreamSession("x", "2025-11-25"))
    said.put_nowait({"type": "websocket.disconnect"})
    await serving
    await until(lambda: ended == [f"{SHARED}{key}"])
    await until(lambda: not second.mirror.items)


async def test_a_session_in_use_lives_on_and_an_unused_one_ends_with_its_streams(
    edges: tuple[Edge, Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_CHECK_SECONDS", 0.05)
    first, second = edges
    for edge in edges:
        monkeypatch.setattr(edge.world.sessions, "_lifetime", 2.0)
        monkeypatch.setattr(edge.world.sessions, "_renewal", 0.5)
    used, unused, streaming = [await first.initialize() for _ in range(3)]
    stream = await first.stream(streaming)

    async def keep_using() -> None:
        while True:
            assert (await second.ask(session=used)).status == 200
            await asyncio.sleep(0.1)

    using = asyncio.create_task(keep_using())
    await until(lambda: session_key(unused) not in first.mirror.items, 10)
    await asyncio.wait([using], timeout=1.5)
    assert not using.done()
    assert {session_key(used), session_key(streaming)} <= first.mirror.items.keys()
    assert not stream.task.done()
    using.cancel()
    await asyncio.gather(using, return_exceptions=True)
    stream.task.cancel()
    assert (await second.ask(session=unused)).status == 404


async def test_a_level_that_is_set_does_not_make_a_session_live_for_ever(
    edges: tuple[Edge, Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = edges
    monkeypatch.setattr(first.world.sessions, "_lifetime", 1.0)
    session = await first.initialize()
    body = b'{"jsonrpc":"2.0","id":3,"method":"logging/setLevel","params":{"level":"error"}}'
    assert (await first.ask(body, session)).json()["result"] == {}
    await until(lambda: session_key(session) not in first.mirror.items, 10)
