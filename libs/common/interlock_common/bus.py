"""The one way to the bus: mutual TLS by the service's identity, deadlines, traces, and rotation without loss.

A ``Bus`` holds one *link*, a connection with its FastStream broker. To present a new certificate it opens a
second link, moves everything there, drains the first and closes it: at no moment is a subject unanswered.
"""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
import structlog
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from opentelemetry.trace import SpanKind

from interlock_common import problem, telemetry
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.endpoints import ERROR_CODE_HEADER, TIMEOUT_HEADER, Endpoint
from interlock_common.errors import DeadlineExceeded, TooLarge, Unavailable
from interlock_common.messages.access import MAX_PAYLOAD
from interlock_common.messages.subjects import inbox_prefix
from interlock_common.micro import Microservice

_log = structlog.get_logger()
_DRAIN_SECONDS = 10.0
_LATE_SECONDS = 0.05
_CONNECT_SECONDS = 2
_RECONNECT_SECONDS = 0.2

type Listener = Callable[[], Awaitable[None]]


class ClientIdentity(Protocol):
    """What a bus needs of an identity: a fresh client context each time it connects."""

    def client_context(self) -> ssl.SSLContext: ...


class Bus:
    """The connection of one process to the bus, as one service with one identity."""

    def __init__(
        self,
        service: str,
        url: str,
        identity: ClientIdentity,
        *,
        version: str = "0.1.0",
        description: str = "",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.service = service
        self.instance = secrets.token_hex(4)
        self.version = version
        self.description = description or f"the {service} service of Interlock"
        self.url = url
        self.endpoints: list[Endpoint[Any]] = []
        self.started_at = clock.now()
        self._identity = identity
        self._link: _Link | None = None
        self._listeners: list[Listener] = []
        self._loss_listeners: list[Callable[[], None]] = []
        self._rotation = asyncio.Lock()

    def endpoint[Req](
        self,
        subject: str,
        request: type[Req],
        handler: Callable[[Req], Awaitable[msgspec.Struct]],
        *,
        workers: int = 8,
    ) -> None:
        """Answer ``subject`` as one of the queue group of this service; declared before ``start``."""

        async def answer(_subject: str, message: Req) -> msgspec.Struct:
            return await handler(message)

        self.endpoint_with_subject(subject, request, answer, workers=workers)

    def endpoint_with_subject[Req](
        self,
        subject: str,
        request: type[Req],
        handler: Callable[[str, Req], Awaitable[msgspec.Struct]],
        *,
        workers: int = 8,
    ) -> None:
        """As ``endpoint``, for a wildcard subject whose concrete form the handler needs."""
        self.endpoints.append(Endpoint(subject, request, handler, workers))

    def on_connected(self, listener: Listener) -> None:
        """Call ``listener`` after each later (re)connection and rotation: what was subscribed is to be renewed."""
        self._listeners.append(listener)

    def on_lost(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` when the connection is lost: from then on nothing that was subscribed arrives."""
        self._loss_listeners.append(listener)

    @property
    def connected(self) -> bool:
        return self._link is not None and self._link.client.is_connected

    def problem(self) -> str | None:
        """Why the bus cannot be used at the moment, for health checks."""
        return None if self.connected else f"no connection to {self.url}"

    @property
    def nc(self) -> Client:
        """The connection of the moment; ask again after each use, rotation replaces it."""
        return self._current().client

    @property
    def js(self) -> JetStreamContext:
        """JetStream of the connection of the moment."""
        return self._current().jetstream

    async def start(self) -> None:
        """Connect, trying for as long as it takes, and answer the declared endpoints."""
        link = _Link(self, self._identity.client_context())
        await link.open()
        self._link = link

    async def stop(self) -> None:
        """Take no new work, finish what has begun, send what is buffered, close."""
        link, self._link = self._link, None
        if link is not None:
            await link.retire()

    async def rotate(self, context: ssl.SSLContext) -> None:
        """Present the certificate of ``context`` from now on, without losing a request in either direction.

        Raises whatever connecting with it raises; the link that works stays in use then.
        """
        async with self._rotation:
            fresh = _Link(self, context)
            async with asyncio.timeout(_DRAIN_SECONDS):
                await fresh.open()
            old, self._link = self._link, fresh
            await self._connected()
            if old is not None:
                await old.retire()

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T:
        """Ask and wait for the answer, at most ``timeout`` seconds.

        Raises the error that the service answered (``interlock_common.errors``), Unavailable when nobody
        answers the subject or the bus is away, DeadlineExceeded when the time is over.
        """
        attributes = {telemetry.MESSAGING_SYSTEM: "nats", telemetry.MESSAGING_DESTINATION: subject}
        with (
            telemetry.timed(telemetry.BUS_REQUEST_DURATION, attributes),
            telemetry.span(f"request {subject}", SpanKind.CLIENT, attributes=attributes),
        ):
            headers = telemetry.inject({TIMEOUT_HEADER: f"{timeout:g}"})
            body = await self.request_raw(subject, msgspec.json.encode(message), headers, timeout)
        return msgspec.json.decode(body, type=reply)

    async def request_raw(self, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
        """``request`` on bytes and without a span of its own: for the hot path."""
        if len(body) > MAX_PAYLOAD:
            raise TooLarge(f"message to {subject} is over {MAX_PAYLOAD} bytes")
        async with self.lease() as client:
            try:
                answer = await client.request(subject, body, timeout=timeout, headers=headers)
            except NoRespondersError:
                raise Unavailable(f"nobody answers {subject} at the moment") from None
            except TimeoutError:
                raise DeadlineExceeded(f"no answer from {subject} within {timeout:g} s") from None
            except NatsError as error:
                raise Unavailable(f"the bus did not take a request to {subject}: {type(error).__name__}") from None
        if answer.headers and ERROR_CODE_HEADER in answer.headers:
            raise problem.error_of(answer.data)
        return answer.data

    async def publish_event(self, subject: str, event: msgspec.Struct) -> None:
        """Publish an event of this service to the stream EVENTS, with the trace context of the moment."""
        async with self.lease() as client:
            with telemetry.span(f"publish {subject}", SpanKind.PRODUCER):
                await client.publish(subject, msgspec.json.encode(event), headers=telemetry.inject({}))

    @asynccontextmanager
    async def lease(self) -> AsyncGenerator[Client]:
        """The connection, kept open until the block ends even when the certificate rotates meanwhile."""
        link = self._current()
        if not link.client.is_connected:
            raise Unavailable("the bus is not connected")
        link.leases += 1
        try:
            yield link.client
        finally:
            link.leases -= 1

    def _current(self) -> "_Link":
        if self._link is None:
            raise Unavailable("the bus is not connected")
        return self._link

    async def _connected(self) -> None:
        for listener in self._listeners:
            await listener()

    def lost(self, link: "_Link") -> None:
        """Called by a link whose connection is gone."""
        if link is self._link:
            for listener in self._loss_listeners:
                listener()

    def reconnected(self, link: "_Link") -> Awaitable[None] | None:
        """Called by a link whose connection came back; links that are being replaced do not count."""
        return self._connected() if link is self._link else None


class _Link:
    """One connection and the broker on it."""

    def __init__(self, bus: Bus, context: ssl.SSLContext) -> None:
        self.leases = 0
        self._served = 0
        self._retired = False
        self.client: Client
        self.jetstream: JetStreamContext
        self._bus = bus
        self._last_error = ""
        self._broker = NatsBroker(
            bus.url,
            name=f"{bus.service}-{bus.instance}",
            apply_types=False,  # handlers take the whole message; no signature inspection per message
            logger=None,
            connect_timeout=_CONNECT_SECONDS,
            max_reconnect_attempts=-1,
            inbox_prefix=inbox_prefix(bus.service),
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
        for endpoint in bus.endpoints:
            self._broker.subscriber(
                endpoint.subject, bus.service, decoder=_whole_message, max_workers=endpoint.workers
            )(self._counted(endpoint))

    async def open(self) -> None:
        bus = self._bus
        for subscriber in self._broker.subscribers:
            # FastStream says this only after it has subscribed, and drops what arrives in between.
            subscriber.running = True
        await self._broker.start()
        self.client = self._broker.connection
        self.jetstream = self.client.jetstream(timeout=5)  # pyright: ignore[reportUnknownMemberType] - untyped **opts
        service = Microservice(bus.service, bus.instance, bus.version, bus.description, bus.endpoints, bus.started_at)
        await service.start(self.client)
        await self.client.flush()

    async def retire(self) -> None:
        """Take no new messages, wait for what runs and for replies that are due, then close."""
        self._retired = True
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                if self.client.is_connected:
                    await self._drain()
                    await self.client.flush()
        except TimeoutError:
            _log.warning("bus connection closed with work still running", seconds=_DRAIN_SECONDS, leases=self.leases)
        except NatsError as error:
            _log.warning("bus connection could not be drained", error=type(error).__name__)
        finally:
            await self.client.close()
            # Stops FastStream's tasks; its own draining would wait for pull subscriptions that nobody reads any more.
            with contextlib.suppress(NatsError):
                await self._broker.stop()

    async def _drain(self) -> None:
        declared: list[Any] = list(self._broker.subscribers)
        subscribers = [one for one in declared if one.subscription is not None]
        for subscriber in subscribers:
            await self.client._send_unsubscribe(subscriber.subscription._id)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
        # The server still delivers what it had matched before it took the UNSUB, even behind its PONG; the
        # client drops what comes for a subscription that it has drained. So: stop, listen a little, then drain.
        await self.client.flush()
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
        self._bus.lost(self)
        # Whoever waits for a reply on a connection that is gone would wait out the whole deadline.
        waiting: dict[str, asyncio.Future[Any]] = self.client._resp_map  # noqa: SLF001 # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]
        for reply in list(waiting.values()):
            if not reply.done():
                reply.set_exception(ConnectionClosedError())

    async def _on_reconnected(self) -> None:
        self._last_error = ""
        _log.info("reconnected to the bus")
        if (renewal := self._bus.reconnected(self)) is not None:
            await renewal


async def _whole_message(message: Any) -> Any:
    """A FastStream decoder that decodes nothing: the endpoint needs subject and headers beside the body."""
    return message
