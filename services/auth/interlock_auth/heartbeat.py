"""Says every second how far revocations have come, so that an edge that hears nothing knows that it knows nothing."""

import asyncio

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_auth.receipts import Receipts
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import InvalidInput, Unavailable
from interlock_common.messages.revocation import Confirmation, Heartbeat, ReadRevoked, RevokedPage
from interlock_common.messages.subjects import REVOCATION_CONFIRMED, REVOCATION_HEARTBEAT
from interlock_common.revocation_marks import PAGES
from interlock_common.revocation_set import RevocationMirror, RevocationSet
from interlock_common.subscriptions import Subscriptions

INTERVAL = 1.0
_READ_SECONDS = 120.0
_confirmations = msgspec.json.Decoder(Confirmation)
_log = structlog.get_logger(__name__)


class Heartbeats:
    """Publishes heartbeats, and hears the confirmations of the edges."""

    def __init__(self, bus: Bus, receipts: Receipts, clock: Clock, *, patience: float = _READ_SECONDS) -> None:
        self._bus = bus
        self._receipts = receipts
        self._clock = clock
        self._patience = patience
        self._mirror = RevocationMirror(bus, clock=clock)
        self._subscriptions = Subscriptions(bus)
        self._now = asyncio.Event()
        receipts.met = self._now.set

    async def prepare(self) -> RevocationSet | None:
        """Read what the bucket holds; None where that takes too long, since who has the truth need not wait for it."""
        if not (self._mirror.reading or self._mirror.complete):
            await self._mirror.start()
        try:
            await self._mirror.wait_complete(self._patience)
        except TimeoutError:
            return None
        return self._mirror.items

    async def page(self, request: ReadRevoked) -> RevokedPage:
        """A part of what the bucket holds, for an edge that begins: quicker than a message for each."""
        if not 0 <= request.page < PAGES:
            raise InvalidInput(f"there are {PAGES} pages of revocations")
        if self._mirror.problem() is not None or self._mirror.stale_since is not None:
            raise Unavailable("what is revoked is being read here")
        return self._mirror.items.page(request.page, self._mirror.applied)

    async def run(self) -> None:
        """Listen, and beat for ever: every second, and at once when an edge is new."""
        try:
            await self._listen()
            await self._beat_on()
        finally:
            await self._subscriptions.close()
            await self._mirror.stop()

    async def _listen(self) -> None:
        while True:
            try:
                await self._subscriptions.add(REVOCATION_CONFIRMED, self._heard)
                break
            except (NatsError, Unavailable):
                await self._clock.sleep(INTERVAL)
        self._receipts.listening()

    async def _beat_on(self) -> None:
        while True:
            await self._beat()
            self._now.clear()
            beating = asyncio.ensure_future(self._clock.sleep(INTERVAL))
            asked = asyncio.ensure_future(self._now.wait())
            try:
                await asyncio.wait({beating, asked}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                beating.cancel()
                asked.cancel()

    async def _beat(self) -> None:
        mirror = self._mirror
        if not self._bus.connected or mirror.problem() is not None:  # what waited in a buffer would arrive too late
            return
        digest = f"{mirror.items.digest:032x}"
        heartbeat = Heartbeat(self._bus.instance, mirror.applied, digest, self._clock.monotonic())
        try:
            async with self._bus.lease() as client:
                await client.publish(REVOCATION_HEARTBEAT, msgspec.json.encode(heartbeat))
        except (NatsError, Unavailable) as error:
            _log.warning("heartbeat not published", error=type(error).__name__)

    def _heard(self, message: Msg) -> None:
        try:
            self._receipts.heard(_confirmations.decode(message.data))
        except msgspec.DecodeError:
            _log.warning("an edge said what does not fit its contract")
