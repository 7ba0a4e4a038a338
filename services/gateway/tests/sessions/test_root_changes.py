"""A client of the handshake era whose roots changed, and the upstreams that are told."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from interlock_common import kv
from interlock_common.messages.catalog import Command, Upstream
from interlock_common.messages.gateway import UpstreamSession, session_key, upstream_session_key
from interlock_common.messages.resources import UPSTREAM_SESSIONS
from interlock_common.testing.waiting import until
from interlock_gateway.testing.edges import Conversing, Edge, call_body, conversing_at
from interlock_gateway.testing.servers import serving, upstream_at
from interlock_gateway.upstreams.sessions import SHARED

type Edges = tuple[Edge, Edge]

CHANGED = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'


@pytest.fixture
async def talking(edges: Edges) -> AsyncGenerator[Conversing]:
    """An upstream that both edges know, and that answers every call at once."""
    upstream = Conversing()
    async with serving(upstream.handle) as url:
        for edge in edges:
            edge.world.register(conversing_at(url))
        yield upstream


async def begun(edge: Edge, upstream: Conversing) -> str:
    """A session that has one of its own at the upstream, as every edge knows."""
    session = await edge.initialize(roots={})
    upstream.answer()
    await edge.ask(call_body(), session)
    key = upstream_session_key(session_key(session), "u1")
    await kv.put(edge.bus, UPSTREAM_SESSIONS, key, UpstreamSession("at-upstream", "2025-11-25"), ttl=60)
    return session


def told(upstream: Conversing) -> int:
    return sum(each.get("method") == "notifications/roots/list_changed" for each in upstream.heard)


async def test_an_upstream_is_told_that_the_roots_of_its_client_changed(edges: Edges, talking: Conversing) -> None:
    first, _ = edges
    session, other = await begun(first, talking), await first.initialize(roots={})
    assert (await first.ask(CHANGED, other)).status == 202  # has no session there, and gets none for this
    assert (await first.ask(CHANGED, session)).status == 202
    await until(lambda: told(talking) == 1)
    assert len(talking.calls) == 1


async def test_one_upstream_that_fails_keeps_no_other_from_being_told(
    edges: Edges, talking: Conversing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = edges
    session = await begun(first, talking)
    first.world.register(upstream_at("http://127.0.0.1:9/sse", id="u0", name="a", slug="a", transport="sse"))
    found = first.world.upstreams.transport
    tried: list[str] = []

    def transport(upstream: Upstream) -> object:
        tried.append(upstream.id)
        return found(upstream)

    monkeypatch.setattr(first.world.upstreams, "transport", transport)
    await first.ask(CHANGED, session)
    await until(lambda: told(talking) == 1)
    assert len(tried) == 2


async def test_servers_that_are_commands_or_dialled_in_are_told_as_well(
    edges: Edges, talking: Conversing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = edges
    session = await begun(first, talking)
    for each in ("stdio", "reverse", "worker"):
        first.world.register(upstream_at("", id=each, name=each, slug=each, era="legacy", transport=each))
    shared = upstream_at("", id="shared", name="shared", slug="shared", era="legacy", transport="stdio",
                         command=Command(("x",), shared=True))  # fmt: skip
    first.world.register(shared)
    heard: list[tuple[str, str, bytes]] = []

    class Way:
        async def notify(self, upstream: Upstream, _principal: str, key: str, message: bytes) -> None:
            heard.append((upstream.id, key, message))

    def way(_: Upstream) -> Way:
        return Way()

    monkeypatch.setattr(first.world.upstreams, "transport", way)
    await first.ask(CHANGED, session)
    await until(lambda: len(heard) == 3)
    key = f"{SHARED}{session_key(session)}"
    assert sorted(heard) == [(each, key, CHANGED) for each in ("reverse", "stdio", "u1")]


async def test_many_changes_at_once_are_told_once_more_and_not_each(
    edges: Edges, talking: Conversing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = edges
    session = await begun(first, talking)
    going, notes = asyncio.Event(), 0

    class Slow:
        async def notify(self, *_: object) -> None:
            nonlocal notes
            notes += 1
            await going.wait()

    def slow(_: Upstream) -> Slow:
        return Slow()

    monkeypatch.setattr(first.world.upstreams, "transport", slow)
    await first.ask(CHANGED, session)
    await until(lambda: notes == 1)
    for _ in range(5):
        await first.ask(CHANGED, session)
    going.set()
    await until(lambda: notes == 2)
    await first.world.traffic.stop()
    assert notes == 2
