"""Notifications of upstreams that belong to no request, shared by all edges, connectors and the catalog."""

import asyncio
from collections.abc import Callable

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_common.bus import Bus
from interlock_common.errors import InterlockError
from interlock_common.messages.subjects import MCP_CHANGED, changed
from interlock_common.subscriptions import Subscriptions

_log = structlog.get_logger()
_PREFIX = len(changed(""))
_MAX_WAITING = 1_000
_MAX_BYTES = 64 * 1024

type Take = Callable[[str, bytes], None]


class Notices:
    """Says what an upstream said, and hears what others heard."""

    def __init__(self, bus: Bus, subscriptions: Subscriptions) -> None:
        self._bus = bus
        self._subscriptions = subscriptions
        self._saying: set[asyncio.Task[None]] = set()

    async def start(self, take: Take) -> None:
        """Have ``take`` called with the upstream's id and each notification, those of this edge included."""

        def taken(message: Msg) -> None:
            take(message.subject[_PREFIX:], message.data)

        await self._subscriptions.add(MCP_CHANGED, taken)

    async def stop(self) -> None:
        await asyncio.gather(*self._saying, return_exceptions=True)

    def say(self, upstream_id: str, message: bytes) -> None:
        """Tell everybody; what cannot be told is found out when the catalog looks again."""
        if len(self._saying) >= _MAX_WAITING or len(message) > _MAX_BYTES:
            _log.warning("a notification of an upstream was passed over", upstream=upstream_id, bytes=len(message))
            return
        task = asyncio.create_task(self._say(upstream_id, message))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    async def _say(self, upstream_id: str, message: bytes) -> None:
        try:
            async with self._bus.lease() as client:
                await client.publish(changed(upstream_id), message)
        except (InterlockError, NatsError) as error:
            _log.warning("a notification of an upstream was not told", upstream=upstream_id, error=type(error).__name__)
