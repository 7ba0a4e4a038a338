"""Notifications of upstreams that belong to no request, shared by all edges, connectors and the catalog."""

import asyncio
from collections.abc import Callable

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import InterlockError
from interlock_common.messages.subjects import MCP_CHANGED, changed
from interlock_common.subscriptions import Subscriptions

_log = structlog.get_logger()
_PREFIX = len(changed(""))
_MAX_WAITING = 1_000
_MAX_BYTES = 64 * 1024
_SPACING_SECONDS = 1.0

type Take = Callable[[str, bytes], None]


class Notices:
    """Says what an upstream said, and hears what others heard.

    The same is said at once, and then once a second for as long as it is said again: an upstream that announces
    changes without end costs the others nothing.
    """

    def __init__(self, bus: Bus, subscriptions: Subscriptions, clock: Clock = SYSTEM_CLOCK) -> None:
        self._bus = bus
        self._subscriptions = subscriptions
        self._clock = clock
        self._saying: dict[tuple[str, bytes], asyncio.Task[None]] = {}
        self._again: set[tuple[str, bytes]] = set()

    async def start(self, take: Take) -> None:
        """Have ``take`` called with the upstream's id and each notification, those of this edge included."""

        def taken(message: Msg) -> None:
            take(message.subject[_PREFIX:], message.data)

        await self._subscriptions.add(MCP_CHANGED, taken)

    async def stop(self) -> None:
        tasks = tuple(self._saying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def say(self, upstream_id: str, message: bytes) -> None:
        """Tell everybody; what cannot be told is found out when the catalog looks again."""
        said = (upstream_id, message)
        if said in self._saying:
            self._again.add(said)
            return
        if len(self._saying) >= _MAX_WAITING or len(message) > _MAX_BYTES:
            _log.warning("a notification of an upstream was passed over", upstream=upstream_id, bytes=len(message))
            return
        self._saying[said] = asyncio.create_task(self._keep_saying(said), name="notice of an upstream")

    async def _keep_saying(self, said: tuple[str, bytes]) -> None:
        try:
            while True:
                self._again.discard(said)
                await self._say(*said)
                await self._clock.sleep(_SPACING_SECONDS)
                if said not in self._again:
                    return
        finally:
            self._again.discard(said)
            del self._saying[said]

    async def _say(self, upstream_id: str, message: bytes) -> None:
        try:
            async with self._bus.lease() as client:
                await client.publish(changed(upstream_id), message)
        except (InterlockError, NatsError) as error:
            _log.warning("a notification of an upstream was not told", upstream=upstream_id, error=type(error).__name__)
