"""A link: one connection to the bus, the FastStream broker on it, and how both end without losing a message."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from interlock_common.endpoints import Endpoint
from interlock_common.flushing import flushed
from interlock_common.messages.subjects import inbox_prefix
from interlock_common.micro import Microservice, Presence

_log = structlog.get_logger()
_DRAIN_SECONDS = 10.0
_LATE_SECONDS = 0.05
_CONNECT_SECONDS = 2
_RECONNECT_SECONDS = 0.2


class LinkKeeper(Protocol):
    """Who holds the link, and is told when its connection goes and comes back."""

    def lost(self, link: "Link") -> None: ...
    async def reconnected(self, link: "Link") -> None: ...


class Link:
    """One connection and the broker on it."""

    def __init__(self, presence: Presence, context: ssl.SSLContext, keeper: LinkKeeper) -> None:
        self.leases = 0
        self._served = 0
        self._retired = False
        self.client: Client
        self.jetstream: JetStreamContext
        self._presence = presence
        self._keeper = keeper
        self._last_error = ""
        self._broker = NatsBroker(
            presence.url,
            name=f"{presence.service}-{presence.instance}",
            apply_types=False,  # handlers take the whole message; no signature inspection per message
            logger=None,
            connect_timeout=_CONNECT_SECONDS,
            max_reconnect_attempts=-1,
            inbox_prefix=inbox_prefix(presence.service),
            reconnected_cb=self._on_reconnected,
        )
        # FastStream's own error callback re-raises inside the client's reconnect task and ends it for good.
        options: dict[str, Any] = self._broker._connection_kwargs  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        options |= {
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnect_time_wait": _RECONNECT_SECONDS,
            "tls": context,
        }
        for endpoint in presence.endpoints:
            self._broker.subscriber(
                endpoint.subject, presence.service, decoder=_whole_message, max_workers=endpoint.workers
            )(self._counted(endpoint))

    async def open(self) -> None:
        """Connect, trying for as long as it takes, and subscribe; what fails on the way leaves nothing open."""
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise

    async def _open(self) -> None:
        presence = self._presence
        for subscriber in self._broker.subscribers:
            # FastStream says this only after it has subscribed, and drops what arrives in between.
            subscriber.running = True
        await self._broker.start()
        self.client = self._broker.connection
        self.jetstream = self.client.jetstream(timeout=5)  # pyright: ignore[reportUnknownMemberType] - untyped **opts
        await Microservice(presence).start(self.client)
        await flushed(self.client)

    async def retire(self) -> None:
        """Take no new messages, wait for what runs and for replies that are due, then close."""
        self._retired = True
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                if self.client.is_connected:
                    await self._drain()
                    await flushed(self.client)
        except TimeoutError:
            _log.warning("bus connection closed with work still running", seconds=_DRAIN_SECONDS, leases=self.leases)
        except NatsError as error:
            _log.warning("bus connection could not be drained", error=type(error).__name__)
        finally:
            await self._close()

    async def _close(self) -> None:
        """Close the connection, then let FastStream end its tasks without touching what is closed.

        The other way round it would drain, and wait for pull subscriptions that nobody reads any more.
        """
        with contextlib.suppress(NatsError, IncorrectState):  # it may not have come so far as to be connected
            await self._broker.connection.close()
        declared: list[Any] = list(self._broker.subscribers)
        for subscriber in declared:
            subscriber.subscription = None
        with contextlib.suppress(NatsError):
            await self._broker.stop()

    async def _drain(self) -> None:
        declared: list[Any] = list(self._broker.subscribers)
        subscribers = [one for one in declared if one.subscription is not None]
        for subscriber in subscribers:
            await self.client._send_unsubscribe(subscriber.subscription._id)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        # The server still delivers what it had matched before it took the UNSUB, even behind its PONG; the
        # client drops what comes for a subscription that it has drained. So: stop, listen a little, then drain.
        await flushed(self.client)
        await asyncio.sleep(_LATE_SECONDS)
        delivered = 0
        for subscriber in subscribers:
            # FastStream's stop() drops what was delivered and not yet begun: drain first, then let it stop.
            await subscriber.subscription.drain()
            delivered += subscriber.subscription.delivered
            subscriber.subscription = None
        # A message can be between FastStream's queue and its handler, where neither shows it: so they are counted.
        while self.leases or self._served < delivered or not all(s.lock.empty for s in subscribers):  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    def _counted(self, endpoint: Endpoint[Any]) -> Callable[[Any], Awaitable[Any]]:
        async def serve(message: Any) -> Any:
            try:
                return await endpoint.serve(message)
            finally:
                self._served += 1

        return serve

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        if "permissions violation" in text.lower():
            _log.error("the bus refused what this service is not permitted", error=text)
        elif text != self._last_error:  # the same one comes with every attempt to reconnect
            self._last_error = text
            _log.warning("bus error", error=text or type(error).__name__)

    async def _on_disconnected(self) -> None:
        if self._retired:
            return
        _log.warning("disconnected from the bus")
        self._keeper.lost(self)
        # Whoever waits for a reply on a connection that is gone would wait out the whole deadline.
        waiting: dict[str, asyncio.Future[Any]] = self.client._resp_map  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
        for reply in list(waiting.values()):
            if not reply.done():
                reply.set_exception(ConnectionClosedError())

    async def _on_reconnected(self) -> None:
        self._last_error = ""
        _log.info("reconnected to the bus")
        await self._keeper.reconnected(self)


async def _whole_message(message: Any) -> Any:
    """A FastStream decoder that decodes nothing: the endpoint needs subject and headers beside the body."""
    return message
