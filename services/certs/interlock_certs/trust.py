"""Bringing the bundle of the moment to everybody: the bus, the drops of who joins, certs itself, the services."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from nats.errors import Error as NatsError

from interlock_certs.generations import Generations
from interlock_certs.joining import JoinDrops
from interlock_certs.own import OwnIdentity
from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import Unavailable
from interlock_common.messages import resources
from interlock_common.messages.certs import BUNDLE_KEY, TrustBundle

type Show = Callable[[], Awaitable[None]]


class Shown(NamedTuple):
    """An identity made here and what has whoever shows it take its files anew."""

    own: OwnIdentity
    show: Show


class Trust:
    """What must follow the generations of the CA; ``shown`` in the order in which they take it."""

    def __init__(self, generations: Generations, drops: JoinDrops, bus: Bus, shown: Sequence[Shown]) -> None:
        self._generations = generations
        self._drops = drops
        self._bus = bus
        self._shown = shown

    async def apply(self) -> None:
        """Bring everybody into line; the bus first, so that it takes whatever the others show.

        Raises Unavailable when the bus is away, and may be repeated.
        """
        tainted = self._generations.tainted
        self._drops.rewrite_bundles(self._generations.bundle_pem)
        for own, show in self._shown:
            await own.follow(tainted)
            await show()
        try:
            await self.publish()
        except (NatsError, TimeoutError) as error:
            raise Unavailable(f"the trust bundle is not published: {str(error) or type(error).__name__}") from None

    async def publish(self) -> None:
        """Tell everyone which roots count, unless the bucket says so already."""
        await kv.ensure_bucket(self._bus, resources.TRUST)
        generations = self._generations
        trust = TrustBundle(generations.bundle_pem.decode(), generations.bundle, generations.tainted)
        if await kv.get(self._bus, resources.TRUST, BUNDLE_KEY, TrustBundle) != trust:
            await kv.put(self._bus, resources.TRUST, BUNDLE_KEY, trust)
