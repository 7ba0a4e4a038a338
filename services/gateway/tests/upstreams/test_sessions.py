import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from interlock_common import kv
from interlock_common.messages.gateway import UpstreamSession
from interlock_common.messages.resources import UPSTREAM_SESSIONS
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_gateway.testing.servers import RESULT
from interlock_gateway.testing.upstreams import LEGACY, LegacyServer, all_of, http_over, request_to
from interlock_gateway.upstreams.connections import Ways
from interlock_gateway.upstreams.sessions import SHARED, MemorySessions, SharedSessions

KEY = SHARED + "0123abc"


class Openings:
    """Opens sessions that are numbered in their order."""

    def __init__(self) -> None:
        self.count = 0
        self.failing = False

    async def __call__(self) -> UpstreamSession:
        self.count += 1
        await asyncio.sleep(0)
        if self.failing:
            raise ConnectionError
        return UpstreamSession(f"s{self.count}", "2025-11-25")


async def test_those_who_come_together_share_one_opening() -> None:
    sessions, opening = MemorySessions(), Openings()
    found = await asyncio.gather(*[sessions.obtain("u1", "ada", opening) for _ in range(5)])
    assert {session.id for session in found} == {"s1"}
    assert (await sessions.obtain("u2", "ada", opening)).id == "s2"


async def test_a_failed_opening_leaves_nothing_behind() -> None:
    sessions, opening = MemorySessions(), Openings()
    opening.failing = True
    outcomes = await asyncio.gather(*[sessions.obtain("u1", "ada", opening) for _ in range(3)], return_exceptions=True)
    assert all(isinstance(outcome, ConnectionError) for outcome in outcomes)
    assert not sessions._opening  # pyright: ignore[reportPrivateUsage]
    assert sessions.known("u1", "ada") is None


async def test_sessions_that_were_not_used_for_longest_go_first() -> None:
    sessions, opening = MemorySessions(limit=2), Openings()
    await sessions.obtain("u1", "ada", opening)
    await sessions.obtain("u1", "eve", opening)
    sessions.known("u1", "ada")
    await sessions.obtain("u1", "bob", opening)
    assert sessions.known("u1", "ada") is not None
    assert sessions.known("u1", "eve") is None


async def test_only_the_session_that_was_lost_is_forgotten() -> None:
    sessions, opening = MemorySessions(), Openings()
    old = await sessions.obtain("u1", "ada", opening)
    await sessions.lost("u1", "ada", old)
    new = await sessions.obtain("u1", "ada", opening)
    await sessions.lost("u1", "ada", old)
    assert sessions.known("u1", "ada") == new


@pytest.fixture
async def edges(embedded_bus: EmbeddedBus) -> AsyncGenerator[list[SharedSessions]]:
    """The stores of two edges on one bus."""
    buses = [embedded_bus.bus("gateway") for _ in range(2)]
    for bus in buses:
        await bus.start()
    await kv.ensure_bucket(buses[0], UPSTREAM_SESSIONS)
    yield [SharedSessions(bus, lifetime=60) for bus in buses]
    for bus in buses:
        await bus.stop()


async def test_edges_use_the_same_session_for_the_session_of_a_client(
    edges: list[SharedSessions], ways: Ways, serve: Any
) -> None:
    server = LegacyServer()
    url = await serve(server)
    transports = [http_over(ways, store) for store in edges]
    asked = request_to(url, KEY, **LEGACY)
    answers = await asyncio.gather(*[all_of(transport, asked) for transport in transports])
    assert all(RESULT in answer[0] for answer in answers)
    assert len(set(server.called_with)) == 1
    losers = {f"s{n}" for n in range(1, len(server.begun) + 1)} - set(server.called_with)
    await until(lambda: set(server.deleted) == losers)


async def test_who_is_slower_uses_the_session_of_the_faster(edges: list[SharedSessions]) -> None:
    fast, slow = edges
    opening = Openings()

    async def overtaken() -> UpstreamSession:
        await fast.obtain("u1", KEY, opening)
        return await opening()

    assert (await slow.obtain("u1", KEY, overtaken)).id == "s1"
    assert slow.known("u1", KEY) == fast.known("u1", KEY)
    assert opening.count == 2


async def test_a_session_that_one_edge_replaced_is_the_others_too(
    edges: list[SharedSessions], ways: Ways, serve: Any
) -> None:
    server = LegacyServer()
    asked = request_to(await serve(server), KEY, **LEGACY)
    first, second = (http_over(ways, store) for store in edges)
    await all_of(first, asked)
    await all_of(second, asked)
    server.live.clear()
    await all_of(first, asked)
    assert RESULT in (await all_of(second, asked))[0]
    assert server.called_with == ["s1", "s1", "s2", "s2"]


async def test_what_a_client_says_reaches_its_session_from_any_edge_and_opens_none(
    edges: list[SharedSessions], ways: Ways, serve: Any
) -> None:
    server = LegacyServer()
    asked = request_to(await serve(server), KEY, **LEGACY)
    first, second = (http_over(ways, store) for store in edges)
    note = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'
    await second.notify(asked.upstream, "ada", KEY, note)
    assert not server.begun
    await all_of(first, asked)
    await second.notify(asked.upstream, "ada", KEY, note)
    assert [note["method"] for note in server.notes][1:] == ["notifications/roots/list_changed"]


async def test_a_session_is_ended_once_by_whichever_edge(edges: list[SharedSessions], ways: Ways, serve: Any) -> None:
    server = LegacyServer()
    asked = request_to(await serve(server), KEY, **LEGACY)
    first, second = (http_over(ways, store) for store in edges)
    await all_of(first, asked)
    await second.end_session(asked.upstream, KEY)
    await first.end_session(asked.upstream, KEY)
    assert server.deleted == ["s1"]
    assert RESULT in (await all_of(first, asked))[0]
    assert len(server.begun) == 2


async def test_other_keys_stay_with_their_edge(edges: list[SharedSessions]) -> None:
    opening = Openings()
    one = await edges[0].obtain("u1", "ada", opening)
    other = await edges[1].obtain("u1", "ada", opening)
    assert one != other
