"""Answering over the bus with more than one message (``messages/gateway.py`` has the contract).

Whoever asked is told every few seconds that its exchange is still worked on; if nobody hears that any more, the
exchange is cancelled, and so is one whose asker says so.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind

from interlock_common import problem, telemetry
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.endpoints import ERROR_CODE_HEADER, ERROR_HEADER
from interlock_common.errors import InterlockError, TooLarge, TooManyRequests, Unavailable
from interlock_common.messages.access import MAX_PAYLOAD
from interlock_common.messages.gateway import (
    ANSWER_TO_HEADER,
    CAPABILITIES_HEADER,
    PRINCIPAL_HEADER,
    SEQUENCE_HEADER,
    SESSION_KEY_HEADER,
    SIGN_OF_LIFE_SECONDS,
    Said,
)
from interlock_common.messages.subjects import exchange, inbox_prefix
from interlock_common.problem import Problem
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.upstreams.transport import Exchange

_log = structlog.get_logger()
_HEADERS_BYTES = 1024
_TICKS = 10
_NOBODY = "503"
_UNHEARD = 2
"""Signs of life in a row that nobody heard, until the asker counts as gone: it may be changing its connection."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, by whom, in whose conversation, and what the client at the far end can do (JSON)."""

    payload: bytes
    principal: str
    session_key: str
    capabilities: bytes


type Open = Callable[[Asked], AbstractAsyncContextManager[Exchange]]


class ExchangeServer:
    """Runs the exchanges that this process answers, at most ``concurrency`` at a time."""

    def __init__(
        self, bus: Bus, subscriptions: Subscriptions, *, concurrency: int = 1000, clock: Clock = SYSTEM_CLOCK,
        sign_of_life: float = SIGN_OF_LIFE_SECONDS,
    ) -> None:  # fmt: skip
        self.clock = clock
        self._bus = bus
        self._subscriptions = subscriptions
        self._concurrency = concurrency
        self._sign_of_life = sign_of_life
        self._running: dict[str, _Running] = {}
        self._tokens: dict[str, _Running] = {}
        self._lookout = f"{inbox_prefix(bus.service)}.{bus.instance}.unheard"
        self._beating: asyncio.Task[None] | None = None
        self.answer_to = exchange(bus.instance)

    async def start(self) -> None:
        """Take what askers say; the bus is connected."""
        await self._subscriptions.add(self.answer_to, self._said, queue=self._bus.instance)
        await self._subscriptions.add(f"{self._lookout}.*", self._unheard)
        self._beating = asyncio.create_task(self._beat(), name="signs of life")

    async def stop(self) -> None:
        """End what runs, and tell so to those who wait for it."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        ending = Unavailable(f"{self._bus.service} is ending")
        await asyncio.gather(*(one.end(ending) for one in list(self._running.values())))

    def take(self, message: Msg, open_exchange: Open) -> None:
        """Answer ``message`` with what the exchange that ``open_exchange`` opens yields."""
        if not message.reply:
            return
        running = _Running(self, message, self._lookout)
        refusal = None
        if len(self._running) >= self._concurrency:
            refusal = TooManyRequests(f"{self._bus.service} answers {self._concurrency} exchanges already")
        elif message.reply in self._running:
            return  # delivered twice
        else:
            self._running[message.reply] = self._tokens[running.token] = running
        running.begin(open_exchange, refusal)

    def ended(self, running: "_Running") -> None:
        if self._running.get(running.reply) is running:
            del self._running[running.reply], self._tokens[running.token]

    async def publish(self, subject: str, data: bytes, reply: str, headers: dict[str, str]) -> None:
        async with self._bus.lease() as client:
            await client.publish(subject, data, reply, headers=headers)

    def _said(self, message: Msg) -> None:
        try:
            said = msgspec.json.decode(message.data, type=Said)
        except msgspec.DecodeError as error:
            _log.warning("what was said to an exchange does not fit its contract", error=str(error))
            return
        running = self._running.get(said.exchange)
        if running is None:
            return
        if said.what == "cancel":
            running.cancel()
        else:
            running.answer(bytes(said.message))

    def _unheard(self, message: Msg) -> None:
        running = self._tokens.get(message.subject.rpartition(".")[2])
        if running is not None and (message.headers or {}).get("Status") == _NOBODY:
            running.unheard += 1
            if running.unheard >= _UNHEARD:
                running.cancel()

    async def _beat(self) -> None:
        while True:
            await self.clock.sleep(self._sign_of_life / _TICKS)
            before = self.clock.monotonic() - self._sign_of_life
            for running in list(self._running.values()):
                if running.said_at < before:
                    await running.sign_of_life()


class _Running:
    """One exchange that is answered."""

    def __init__(self, server: ExchangeServer, message: Msg, lookout: str) -> None:
        self.reply = message.reply
        self.token = secrets.token_hex(8)
        self.said_at = float("-inf")  # so that the first beat tells where answers go
        self.unheard = 0
        self._server = server
        self._message = message
        self._lookout = f"{lookout}.{self.token}"
        self._sequence = 0
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()

    def begin(self, open_exchange: Open, refusal: InterlockError | None) -> None:
        work = self._serve(open_exchange) if refusal is None else self._refuse(problem.problem_of(refusal))
        self._task = asyncio.create_task(work, name=f"exchange {self.token}")
        self._task.add_done_callback(lambda _: self._server.ended(self))

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def end(self, reason: InterlockError) -> None:
        self.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._refuse(problem.problem_of(reason))

    def answer(self, message: bytes) -> None:
        if self._exchange is not None:
            task = asyncio.create_task(self._pass_on(self._exchange, message), name=f"answer {self.token}")
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _pass_on(self, exchange: Exchange, message: bytes) -> None:
        try:
            await exchange.answer(message)
        except InterlockError as error:
            _log.warning("an answer did not reach the server that asked", reason=error.detail)

    async def sign_of_life(self) -> None:
        with contextlib.suppress(NatsError, Unavailable):
            await self._send(b"", reply=self._lookout)

    async def _serve(self, open_exchange: Open) -> None:
        message = self._message
        headers = message.headers or {}
        asked = Asked(
            message.data, headers.get(PRINCIPAL_HEADER, ""), headers.get(SESSION_KEY_HEADER, ""),
            headers.get(CAPABILITIES_HEADER, "{}").encode(),
        )  # fmt: skip
        attributes = {telemetry.MESSAGING_SYSTEM: "nats", telemetry.MESSAGING_DESTINATION: message.subject}
        parent = telemetry.extract(headers)
        try:
            with telemetry.span(f"process {message.subject}", SpanKind.CONSUMER, parent=parent, attributes=attributes):
                async with open_exchange(asked) as self._exchange:
                    async for each in self._exchange:
                        await self._send(each)
        except InterlockError as error:
            await self._refuse(problem.problem_of(error))
        except NatsError as error:
            _log.warning("an exchange could not be answered", error=type(error).__name__)
        except Exception:  # noqa: BLE001 - whoever asked waits for an answer
            _log.exception("an exchange failed unexpectedly", subject=message.subject)
            await self._refuse(problem.UNEXPECTED)

    async def _refuse(self, document: Problem) -> None:
        headers = {ERROR_HEADER: document.title, ERROR_CODE_HEADER: str(document.status)}
        with contextlib.suppress(NatsError, Unavailable):
            await self._send(problem.encode(document), headers)

    async def _send(self, data: bytes, headers: dict[str, str] | None = None, reply: str = "") -> None:
        if len(data) > MAX_PAYLOAD - _HEADERS_BYTES:
            raise TooLarge(f"a message is over {MAX_PAYLOAD - _HEADERS_BYTES} bytes, more than the bus carries")
        async with self._sending:
            self._sequence += 1
            known = {ANSWER_TO_HEADER: self._server.answer_to, SEQUENCE_HEADER: str(self._sequence)}
            await self._server.publish(self.reply, data, reply, known | (headers or {}))
        self.said_at = self._server.clock.monotonic()
        if data:
            self.unheard = 0
