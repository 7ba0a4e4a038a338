"""Keeps an edge in step with auth: hears its heartbeats, and confirms what has been applied."""

import asyncio

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_common.bus import Bus
from interlock_common.errors import Unavailable
from interlock_common.messages.revocation import Confirmation, Heartbeat
from interlock_common.messages.subjects import REVOCATION_CONFIRMED, REVOCATION_HEARTBEAT
from interlock_common.revocation_set import RevocationMirror
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.lease import Lease

_heartbeats = msgspec.json.Decoder(Heartbeat)
_log = structlog.get_logger()


class Confirming:
    """Confirms each change and each heartbeat; many changes that come together are one confirmation."""

    def __init__(self, bus: Bus, subscriptions: Subscriptions, mirror: RevocationMirror, lease: Lease) -> None:
        self._bus = bus
        self._subscriptions = subscriptions
        self._mirror = mirror
        self._lease = lease
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        mirror.on_change(self._changed)
        mirror.on_replaced(self._applied)

    async def start(self) -> None:
        """Begin; the mirror must be complete, since to confirm is to refuse what it holds."""
        await self._subscriptions.add(REVOCATION_HEARTBEAT, self._heard)
        self._due.set()
        self._task = asyncio.create_task(self._confirm_on(), name="confirmations of revocations")

    async def stop(self) -> None:
        """Say that this edge ends: nobody needs to wait for it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._confirm(leaving=True)

    def _heard(self, message: Msg) -> None:
        try:
            heartbeat = _heartbeats.decode(message.data)
        except msgspec.DecodeError:
            _log.warning("a heartbeat does not fit its contract")
            return
        self._lease.heard(heartbeat)
        self._due.set()

    def _changed(self, _key: str, _before: int | None) -> None:
        self._applied()

    def _applied(self) -> None:
        self._lease.reached()
        self._due.set()

    async def _confirm_on(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self._confirm()

    async def _confirm(self, *, leaving: bool = False) -> None:
        if not self._bus.connected:  # what waited in a buffer would be out of date
            return
        name = f"{self._bus.service}-{self._bus.instance}"
        confirmation = Confirmation(name, self._mirror.applied, self._lease.seconds, leaving)
        try:
            async with self._bus.lease() as client:
                await client.publish(REVOCATION_CONFIRMED, msgspec.json.encode(confirmation))
        except (NatsError, Unavailable) as error:
            _log.warning("a revocation could not be confirmed", error=type(error).__name__)
