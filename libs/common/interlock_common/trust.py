"""Following the trust bundle: which roots count is published by certs, and each service says which bundle it uses."""

import asyncio
import random
import ssl
from typing import Protocol

import structlog
from nats.errors import Error as NatsError

from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError
from interlock_common.identity import Identity
from interlock_common.messages import resources, subjects
from interlock_common.messages.certs import BUNDLE_KEY, ConfirmTrust, TrustBundle
from interlock_common.messages.common import Empty
from interlock_common.mirror import Mirror

_log = structlog.get_logger()
_CONFIRM_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_MOST_JITTER = 10.0
_JITTER_SHARE = 20


class Trusting(Protocol):
    """What puts a bundle to use; ``enrolment.Renewer``."""

    async def trust(self, bundle_pem: bytes, tainted: tuple[str, ...]) -> None: ...


class TrustFollower:
    """Uses each bundle that certs publishes, replaces a leaf that is tainted, and confirms that it did."""

    def __init__(self, identity: Identity, bus: Bus, renewer: Trusting, clock: Clock) -> None:
        self._identity = identity
        self._bus = bus
        self._renewer = renewer
        self._clock = clock
        self._wanted: TrustBundle | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow for ever; what fails is tried again for as long as it takes."""
        mirror = Mirror(self._bus, resources.TRUST, TrustBundle, clock=self._clock)
        mirror.on_change(self._take)
        await mirror.start()
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._wanted is not None:
                    await self._follow(self._wanted)
        finally:
            await mirror.stop()

    def _take(self, key: str, value: TrustBundle | None) -> None:
        if key == BUNDLE_KEY and value is not None:
            self._wanted = value
            self._changed.set()

    async def _follow(self, wanted: TrustBundle) -> None:
        pause = _FIRST_PAUSE
        while wanted is self._wanted:
            try:
                if self._identity.is_below(wanted.tainted):
                    await self._clock.sleep(random.uniform(0, self._jitter()))  # noqa: S311 - spreads load
                await self._renewer.trust(wanted.bundle.encode(), wanted.tainted)
                await self._confirm(wanted.generation)
            except (InterlockError, NatsError, ssl.SSLError, OSError, TimeoutError) as error:
                _log.warning("trust bundle not in use yet", bundle=wanted.generation,
                             error=str(error) or type(error).__name__)  # fmt: skip
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                _log.info("trust bundle in use", bundle=wanted.generation)
                return

    async def _confirm(self, generation: int) -> None:
        confirmation = ConfirmTrust(generation, self._bus.instance)
        subject = subjects.trust_confirm(self._bus.service)
        await self._bus.request(subject, confirmation, Empty, timeout=_CONFIRM_SECONDS)

    def _jitter(self) -> float:
        """So that not every service asks in the same moment: a twentieth of the lifetime, and seconds at most."""
        lifetime = self._identity.not_after - self._identity.not_before
        return min(_MOST_JITTER, lifetime.total_seconds() / _JITTER_SHARE)
