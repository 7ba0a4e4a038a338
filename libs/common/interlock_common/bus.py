"""The one way to the bus: mutual TLS by the service's identity, deadlines, traces, and rotation without loss.

A ``Bus`` holds one *link*, a connection with its FastStream broker. To present a new certificate it opens a
second link, moves everything there, drains the first and closes it: at no moment is a subject unanswered.
"""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js import JetStreamContext
from opentelemetry.trace import SpanKind

from interlock_common import problem, telemetry
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.endpoints import ERROR_CODE_HEADER, TIMEOUT_HEADER, Endpoint
from interlock_common.errors import DeadlineExceeded, TooLarge, Unavailable
from interlock_common.links import Link
from interlock_common.messages.access import MAX_PAYLOAD
from interlock_common.micro import Presence

_ROTATE_SECONDS = 10.0
_ATTEMPT_SECONDS = 30.0
_NOBODY_PAUSES = (0.01, 0.04, 0.1)
"""Seconds between tries while nobody answers a subject: nothing was delivered, so asking again is safe, and the
only replica of a service may be changing its connection or restarting."""

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
        self.url = url
        description = description or f"the {service} service of Interlock"
        self._presence = Presence(service, self.instance, version, description, url, clock.now())
        self._identity = identity
        self._link: Link | None = None
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
        self._presence.endpoints.append(Endpoint(subject, request, handler, workers))

    @property
    def endpoints(self) -> Sequence[Endpoint[Any]]:
        """What this process answers."""
        return self._presence.endpoints

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
        while self._link is None:
            link = Link(self._presence, self._identity.client_context(), self)
            with contextlib.suppress(TimeoutError):  # once more, with the certificate of that moment
                async with asyncio.timeout(_ATTEMPT_SECONDS):
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
            fresh = Link(self._presence, context, self)
            async with asyncio.timeout(_ROTATE_SECONDS):
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
                answer = await _ask(client, subject, body, headers, timeout)
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

    def _current(self) -> Link:
        if self._link is None:
            raise Unavailable("the bus is not connected")
        return self._link

    async def _connected(self) -> None:
        for listener in self._listeners:
            await listener()

    def lost(self, link: Link) -> None:
        """Called by a link whose connection is gone."""
        if link is self._link:
            for listener in self._loss_listeners:
                listener()

    async def reconnected(self, link: Link) -> None:
        """Called by a link whose connection came back; links that are being replaced do not count."""
        if link is self._link:
            await self._connected()


async def _ask(client: Client, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> Msg:
    for pause in _NOBODY_PAUSES:
        try:
            return await client.request(subject, body, timeout=timeout, headers=headers)
        except NoRespondersError:
            await asyncio.sleep(pause)
    return await client.request(subject, body, timeout=timeout, headers=headers)
