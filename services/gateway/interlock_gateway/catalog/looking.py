"""A look at an upstream: is it there, and is what it offers what was accepted."""

import asyncio
import random
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import UpstreamFailed
from interlock_common.messages.catalog import DefinitionKind, Upstream, UpstreamChanged, upstream_key
from interlock_gateway.catalog import records
from interlock_gateway.catalog.outlet import Discover, Outlet
from interlock_gateway.catalog.pinning import Key, Pinned, Policy, Settled, settle
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.registration import same_place
from interlock_gateway.catalog.store import Store
from interlock_gateway.upstreams.discovery.discovery import EVERYTHING, Discovered

_log = structlog.get_logger()

SELF = "svc:catalog"
"""Who acts when nobody asked: the catalog itself."""

_JITTER = 0.2
_SELDOM = 10
"""How many times the interval passes between two looks at a command: each look may have to start it."""


@dataclass(frozen=True)
class Pace:
    """How long to wait until the next look, in seconds; after failures from one second on, doubled each time."""

    interval: float

    def after(self, upstream: Upstream, failures: int) -> float:
        jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
        if failures:
            return min(2.0 ** min(failures - 1, 30), 5 * self.interval) * jitter
        return self.interval * (_SELDOM if upstream.transport == "stdio" else 1) * jitter


class Looking:
    """Looks at upstreams, one look at a time at each, and publishes what differs."""

    def __init__(
        self,
        engine: AsyncEngine,
        outlet: Outlet,
        publisher: Publisher,
        discover: Discover,
        clock: Clock,
        policy: Policy,
        pace: Pace,
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self._publisher = publisher
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.discover = discover
        self.policy = policy
        self.pace = pace

    def turn(self, upstream_id: str) -> asyncio.Lock:
        """Held by whoever asks an upstream and stores what it said, so that no older answer is stored last."""
        return self._turns.setdefault(upstream_id, asyncio.Lock())

    def now(self) -> int:
        """In milliseconds since the epoch."""
        return int(self._clock.time() * 1000)

    def due_at(self, upstream: Upstream, failures: int) -> int:
        return self.now() + int(self.pace.after(upstream, failures) * 1000)

    async def look(
        self, upstream_id: str, kinds: frozenset[DefinitionKind] = EVERYTHING, *, actor: str = SELF
    ) -> UpstreamFailed | None:
        """Discover an upstream anew, and publish and record what differs; answers what failed.

        Where only ``kinds`` are asked for, the upstream is asked for its lists of them and nothing else, if it was
        there when it was looked at last.
        """
        async with self.turn(upstream_id):
            async with transaction(self._engine) as session:
                registered = await Store(session).registered(upstream_id)
            if registered is None or registered.upstream.transport == "rest":
                return None  # a REST upstream is what its registration says
            found = await self._ask(registered.upstream, kinds)
            await self._take(registered.upstream, found, actor)
            return found if isinstance(found, UpstreamFailed) else None

    async def _ask(self, upstream: Upstream, kinds: frozenset[DefinitionKind]) -> Discovered | UpstreamFailed:
        if kinds != EVERYTHING and upstream.reachable and upstream.protocol_version:
            try:
                return await self.discover(upstream, kinds)
            except UpstreamFailed:
                pass  # it may have become another one: look at all of it
        try:
            return await self.discover(upstream)
        except UpstreamFailed as error:
            return error

    async def _take(self, asked: Upstream, found: Discovered | UpstreamFailed, actor: str) -> None:
        async with transaction(self._engine) as session:
            store = Store(session)
            if not await store.begin(asked.id, self.now()):
                return
            registered = await store.registered(asked.id)
            if registered is None or not same_place(registered.upstream, asked):
                return  # registered anew meanwhile, and looked at for that
            before = registered.upstream
            after = presented(before, found)
            failures = registered.failures + 1 if isinstance(found, UpstreamFailed) else 0
            await store.looked_at(after, failures=failures, due_at=self.due_at(before, failures))
            pins: dict[Key, Pinned] = {}
            settled = Settled({}, ())
            if isinstance(found, Discovered):
                pins = await store.pins(asked.id)
                settled = settle(pins, found, self.policy, at=self.now(), first=not before.protocol_version)
                await store.write_pins(asked.id, pins, settled.pins)
            if after != before or settled.changes:
                for piece in records.pieces(settled.changes):
                    await self._outlet.record(
                        "upstream.changed", actor, asked.id, reachable=after.reachable, problem=after.problem, **piece
                    )
        if after != before or settled.pins != pins:
            item = await self._publisher.publish(upstream_key(asked.id))
            tools = len(item.tools) if isinstance(item, Upstream) else 0
            await self._outlet.changed(UpstreamChanged(asked.id, "refreshed", tools))


def presented(before: Upstream, found: Discovered | UpstreamFailed) -> Upstream:
    """The upstream as it presented itself; one that is away stays what it was, and says what failed.

    One that is there says what is missing of it.
    """
    if isinstance(found, UpstreamFailed):
        return msgspec.structs.replace(before, reachable=False, problem=found.detail.replace("\0", ""))
    said = msgspec.structs.replace(
        before, era=found.era, protocol_version=found.protocol_version, reachable=True, problem=_noted(before, found)
    )
    if found.asked != EVERYTHING:
        return said
    return msgspec.structs.replace(said, capabilities=msgspec.Raw(found.capabilities), instructions=found.instructions)


def _noted(before: Upstream, found: Discovered) -> str:
    """What is missing of an upstream that is there; nothing new is known of that where its tools were not asked for."""
    problem = found.left_out if "tool" in found.asked else before.problem if before.reachable else ""
    if problem and problem != before.problem:
        _log.warning("an upstream has tools that no client may use", upstream=before.name, problem=problem)
    return problem
