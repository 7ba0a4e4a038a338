"""Edges that share their limits, on a real bus."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.limits import Usage
from interlock_common.messages.subjects import LIMITS_USAGE
from interlock_common.subscriptions import Subscriptions
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.guard.buckets import Buckets, Rate
from interlock_gateway.guard.gossip import Gossip
from interlock_gateway.guard.rate_limits import PRINCIPAL, RateLimited, RateLimits

RATE = Rate(10, 20)


@dataclass(frozen=True)
class GossipingEdge:
    limits: RateLimits
    gossip: Gossip
    bus: Bus
    clock: ManualClock

    def ask(self, times: int = 1) -> int:
        """How many of so many requests of ada pass here."""
        passed = 0
        for _ in range(times):
            try:
                self.limits.count_caller("ada", "t-1")
            except RateLimited:
                continue
            passed += 1
        return passed

    @property
    def left(self) -> float:
        return round(self.limits.left(PRINCIPAL, "ada"), 6)


@asynccontextmanager
async def gossiping(embedded_bus: EmbeddedBus, clock: ManualClock) -> AsyncGenerator[GossipingEdge]:
    """An edge whose limits have the clock of the test; it gossips in real time."""
    bus = embedded_bus.bus("gateway")
    await bus.start()
    limits = RateLimits({PRINCIPAL: RATE}, clock)
    gossip = Gossip(limits, bus, Subscriptions(bus), SYSTEM_CLOCK, interval=0.02)
    await gossip.start()
    try:
        yield GossipingEdge(limits, gossip, bus, clock)
    finally:
        await gossip.stop()
        await bus.stop()


@pytest.fixture
async def three(embedded_bus: EmbeddedBus) -> AsyncGenerator[list[GossipingEdge]]:
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(gossiping(embedded_bus, clock)) for _ in range(3)]


@dataclass
class Flood:
    """Asks all edges at once, and knows how much they gave out in all."""

    edges: list[GossipingEdge]
    truth: Buckets
    passed: int = 0

    async def go_on(self, seconds: float) -> None:
        """Ask, wait until every edge knows what all of them gave out, and let time pass."""
        clock = self.edges[0].clock
        for edge in self.edges:
            for _ in range(edge.ask(100)):
                self.truth.taken_elsewhere("ada", 1)  # whether or not there was one
                self.passed += 1
        left = self.truth.left("ada", clock.monotonic())
        await until(lambda: all(abs(edge.left - left) < 0.001 for edge in self.edges))
        clock.advance(seconds)


async def test_three_edges_have_one_burst_together(three: list[GossipingEdge]) -> None:
    first, second, third = three
    assert first.ask(12) == 12
    await until(lambda: second.left == third.left == 8)
    assert second.ask(20) == 8
    await until(lambda: third.left == 0)
    assert third.ask(20) == 0
    third.clock.advance(1)
    assert third.ask(20) == 10


async def test_what_passes_too_much_stays_in_its_bound_and_is_taken_off_later(three: list[GossipingEdge]) -> None:
    """All edges are flooded at once, before any can have heard of another: the worst there is."""
    clock, interval = three[0].clock, 0.1
    flood = Flood(three, Buckets(RATE, clock))
    for _ in range(50):
        seconds = clock.monotonic()
        await flood.go_on(interval)
        assert flood.passed <= RATE.burst + RATE.rate * seconds + 2 * (RATE.burst + RATE.rate * interval)
    # The debt of the first moment is paid by now, and from here on the rate is what counts.
    before, begin = flood.passed, clock.monotonic()
    for _ in range(50):
        await flood.go_on(interval)
    over = 2 * RATE.rate * interval
    assert flood.passed - before <= RATE.rate * (clock.monotonic() - begin) + over + 1


async def test_the_bus_away_each_edge_limits_by_itself(three: list[GossipingEdge]) -> None:
    first, second, _ = three
    await first.bus.nc.close()
    assert first.ask(30) == 20
    await first.gossip.say()
    assert (first.ask(30), second.ask(30)) == (0, 20)


async def test_a_message_heard_twice_counts_once_and_nonsense_counts_nothing(three: list[GossipingEdge]) -> None:
    edge = three[0]
    usage = Usage("another", 1, {PRINCIPAL: {"ada": 2}, "unknown": {"x": 1}})
    async with three[1].bus.lease() as client:
        for message in (usage, usage, replace_sequence(usage, 2)):
            await client.publish(LIMITS_USAGE, msgspec.json.encode(message))
        for nonsense in (b"", b"{", b'{"edge":"x","sequence":1,"used":{"principal":{"ada":-5}}}'):
            await client.publish(LIMITS_USAGE, nonsense)
        await client.publish(LIMITS_USAGE, msgspec.json.encode(Usage("last", 1, {PRINCIPAL: {"eve": 1}})))
    await until(lambda: edge.limits.left(PRINCIPAL, "eve") < 20)
    assert edge.left == 16


def replace_sequence(usage: Usage, sequence: int) -> Usage:
    return msgspec.structs.replace(usage, sequence=sequence)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 4), st.integers(1, 10),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.floats(0, 0.1)), max_size=60),
)  # fmt: skip
def test_however_edges_are_asked_the_bound_holds(edges: int, late: int, steps: list[tuple[int, int, float]]) -> None:
    """Reports come ``late`` steps later: in no stretch of time passes more than the documented bound."""
    clock = ManualClock()
    limits = [RateLimits({PRINCIPAL: RATE}, clock) for _ in range(edges)]
    on_the_way: list[tuple[int, int, dict[str, dict[str, int]]]] = []
    passed: list[float] = []
    sent: list[float] = []
    for number, (who, asked, pause) in enumerate(steps):
        sent.append(clock.monotonic())
        at = who % edges
        for _ in range(asked):
            try:
                limits[at].count_caller("ada", "t-1")
            except RateLimited:
                break
            passed.append(clock.monotonic())
        on_the_way.append((number + late, at, limits[at].collect()))
        clock.advance(pause)
        for _, sender, used in [one for one in on_the_way if one[0] <= number]:
            for other in range(edges):
                if other != sender:
                    limits[other].taken_elsewhere(PRINCIPAL, used.get(PRINCIPAL, {}))
        on_the_way = [one for one in on_the_way if one[0] > number]
    heard = [*sent[late + 1 :], *[clock.monotonic()] * (late + 1)]
    delay = max((after - before for before, after in zip(sent, heard, strict=False)), default=0.0)
    over = (edges - 1) * (RATE.burst + RATE.rate * delay)
    for first in range(0, len(passed), 3):
        for last in range(first, len(passed), 5):
            stretch = passed[last] - passed[first]
            assert last - first + 1 <= RATE.burst + RATE.rate * stretch + over + 0.01
