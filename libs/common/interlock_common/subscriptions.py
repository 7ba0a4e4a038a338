"""Subscriptions beside the declared endpoints: those that come and go while a process runs."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from interlock_common.bus import Bus
from interlock_common.flushing import flushed

_LATE_SECONDS = 0.05

type Take = Callable[[Msg], None]


@dataclass(eq=False)
class Subscribed:
    """One subject that is listened to; ``queue`` names the group of which one member gets each message."""

    subject: str
    queue: str
    take: Take
    current: Subscription | None = field(default=None, repr=False)


class Subscriptions:
    """Misses no message while the bus reconnects or changes its connection.

    During a change both connections are subscribed. With a queue a message then comes over either of them, and can
    overtake one that came over the other; without, it comes over both. Only without a queue does the bus say that
    nobody answers.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._subscribed: set[Subscribed] = set()
        self._client: Client | None = None
        self._changing = asyncio.Lock()
        bus.on_connected(self._follow)

    async def add(self, subject: str, take: Take, *, queue: str = "") -> Subscribed:
        """Have ``take`` called for each message of ``subject``; it must be quick, what follows waits for it."""
        added = Subscribed(subject, queue, take)
        async with self._changing:
            # Before the change has been followed, what is added goes along with the others.
            self._client = self._client or self._bus.nc
            await self._subscribe(self._client, added)
            self._subscribed.add(added)
        return added

    async def remove(self, subscribed: Subscribed) -> None:
        """Listen no longer; what has arrived is still taken."""
        async with self._changing:
            self._subscribed.discard(subscribed)
            if subscribed.current is not None and self._client is not None:
                await _end(self._client, [subscribed.current])
                subscribed.current = None

    async def close(self) -> None:
        """Listen no longer to anything."""
        async with self._changing:
            ended = [one.current for one in self._subscribed if one.current is not None]
            self._subscribed.clear()
            if self._client is not None:
                await _end(self._client, ended)

    async def _follow(self) -> None:
        """Subscribe on the connection of the moment; one that only came back subscribes by itself."""
        async with self._changing:
            client = self._bus.nc
            if client is self._client:
                return
            old = [one.current for one in self._subscribed if one.current is not None]
            for one in self._subscribed:
                await self._subscribe(client, one)
            await flushed(client)
            before, self._client = self._client, client
            if before is not None:
                await _end(before, old)

    async def _subscribe(self, client: Client, subscribed: Subscribed) -> None:
        async def taken(message: Msg) -> None:
            subscribed.take(message)

        subscribed.current = await client.subscribe(  # pyright: ignore[reportUnknownMemberType] - its future is untyped
            subscribed.subject, subscribed.queue, cb=taken
        )


async def _end(client: Client, subscriptions: Collection[Subscription]) -> None:
    """Let the server send no more, and take what it had sent; a connection that is gone has nothing."""
    with contextlib.suppress(NatsError, TimeoutError):
        for one in subscriptions:
            await client._send_unsubscribe(one._id)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        await flushed(client)
        await asyncio.sleep(_LATE_SECONDS)  # as links.py: a little still comes behind the server's PONG
        for one in subscriptions:
            await one.drain()
