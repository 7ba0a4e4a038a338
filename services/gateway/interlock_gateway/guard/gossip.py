"""Edges tell each other what their clients used, so that limits hold for all of them together.

Each says what was taken since it last did: every 100 ms, and soon after an eighth of a burst is gone. While the bus is
away nothing is said and each limits by itself; what was used meanwhile is not told later, for it has long come back.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from itertools import batched

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages.limits import MAX_KEYS, Usage
from interlock_common.messages.subjects import LIMITS_USAGE
from interlock_common.subscriptions import Subscribed, Subscriptions
from interlock_gateway.guard.rate_limits import RateLimits

_log = structlog.get_logger()
INTERVAL_SECONDS = 0.1
HURRY_SECONDS = 0.005
_MAX_EDGES = 1_000
_decoder = msgspec.json.Decoder(Usage)


class Gossip:
    """Says what this edge gave out, and takes off what others did."""

    def __init__(
        self, limits: RateLimits, bus: Bus, subscriptions: Subscriptions, clock: Clock, *,
        interval: float = INTERVAL_SECONDS,
    ) -> None:  # fmt: skip
        self._limits = limits
        self._bus = bus
        self._subscriptions = subscriptions
        self._clock = clock
        self._interval = interval
        self._sequence = 0
        self._heard: OrderedDict[str, int] = OrderedDict()
        self._hurry = asyncio.Event()
        self._subscribed: Subscribed | None = None
        self._telling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._limits.on_much_used(self._hurry.set)
        self._subscribed = await self._subscriptions.add(LIMITS_USAGE, self._take)
        self._telling = asyncio.create_task(self._tell(), name="usage gossip")

    async def stop(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
            await self.say()
        if self._subscribed is not None:
            await self._subscriptions.remove(self._subscribed)

    async def _tell(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._hurry.wait()
                    await self._clock.sleep(HURRY_SECONDS)  # what comes now goes along
            self._hurry.clear()
            try:
                await self.say()
            except Exception:  # noqa: BLE001 - limits of its own are better than none
                _log.exception("usage could not be told to the other edges")

    async def say(self) -> None:
        """Tell what was used since the last time; nobody learns of it while the bus is away."""
        for used in _parts(self._limits.collect()):
            self._sequence += 1
            usage = Usage(self._bus.instance, self._sequence, used)
            with contextlib.suppress(Unavailable, NatsError, OSError):
                async with self._bus.lease() as client:
                    await client.publish(LIMITS_USAGE, msgspec.json.encode(usage))

    def _take(self, message: Msg) -> None:
        try:
            usage = _decoder.decode(message.data)
        except msgspec.DecodeError:
            _log.warning("usage of another edge was not understood")
            return
        if usage.edge == self._bus.instance or usage.sequence <= self._heard.get(usage.edge, 0):
            return  # its own, or over both connections while a certificate is exchanged
        self._heard[usage.edge] = usage.sequence
        self._heard.move_to_end(usage.edge)
        if len(self._heard) > _MAX_EDGES:
            self._heard.popitem(last=False)
        for kind, used in usage.used.items():
            self._limits.taken_elsewhere(kind, used)


def _parts(used: dict[str, dict[str, int]]) -> Iterator[dict[str, dict[str, int]]]:
    """Pieces of at most so many keys as one message carries."""
    for kind, keys in used.items():
        for some in batched(keys.items(), MAX_KEYS, strict=False):
            yield {kind: dict(some)}
