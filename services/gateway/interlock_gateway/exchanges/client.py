"""Asking over the bus where more than one message may come back (``messages/gateway.py`` has the contract).

All exchanges of a process share one subscription; each has a token of its own, which nobody can guess.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_common import problem
from interlock_common.bus import Bus
from interlock_common.endpoints import ERROR_CODE_HEADER
from interlock_common.errors import InterlockError, Unavailable, UpstreamFailed
from interlock_common.messages.gateway import ANSWER_TO_HEADER, SEQUENCE_HEADER, SIGN_OF_LIFE_SECONDS, Said
from interlock_common.messages.subjects import exchange, inbox_prefix
from interlock_common.subscriptions import Subscriptions
from interlock_gateway import jsonrpc
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.upstreams.room import NoRoom, Room, Share

_log = structlog.get_logger()
_MISSED_SIGNS = 3
_NOBODY_PAUSES = (0.01, 0.04, 0.1)
"""As bus.py: nothing was delivered, and the only one who answers may be changing its connection."""
_GAP_SECONDS = 1.0
_MAX_AHEAD = 256
_MAX_WAITING = 10_000
_LARGEST_AT_A_TIME = 3
_NOBODY = "503"
_ANSWER_TO = exchange("")


class BusExchange:
    """One request under way over the bus; ``what`` names in errors who was asked."""

    def __init__(self, asking: "ExchangeClient", subject: str, token: str, what: str, silence: float) -> None:
        self.reply = asking.reply_subject(token)
        self.over = False
        self.answer_to = ""
        self._asking = asking
        self._subject = subject
        self._what = what
        self._silence = silence
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._share = Share(asking.room, subject, what)
        self._next = 1
        self._ahead: dict[int, Msg] = {}
        self.failure: InterlockError | None = None
        self._nobody = False
        self._heard = asyncio.Event()
        self._again: list[float] = list(_NOBODY_PAUSES)
        self.request: tuple[bytes, dict[str, str]] = (b"", {})

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def _iterate(self) -> AsyncGenerator[bytes]:
        while not self.over:
            message = await self._take_next()
            try:
                envelope = jsonrpc.parse(message)
            except RpcError as error:
                raise UpstreamMisbehaved(f"{self._what} sent no JSON-RPC: {error}") from None
            self.over = envelope.method is None
            yield message

    async def answer(self, message: bytes) -> None:
        """Send the response to a request that came in this exchange."""
        if not self.answer_to:
            raise UpstreamMisbehaved(f"{self._what} takes no answers")
        await self._asking.say(self.answer_to, Said(self.reply, "answer", msgspec.Raw(message)))

    async def send(self) -> None:
        """Publish the request; raises UpstreamUnreachable where the bus is away."""
        payload, headers = self.request
        try:
            await self._asking.publish(self._subject, payload, self.reply, headers)
        except Unavailable as error:
            raise UpstreamUnreachable(f"{self._what} cannot be asked: {error.detail}") from None
        except NatsError as error:
            raise UpstreamUnreachable(f"{self._what} cannot be asked over the bus: {type(error).__name__}") from None

    async def _take_next(self) -> bytes:
        while not self._messages:
            if self.failure is not None:
                raise self.failure
            if self._nobody:
                await self._try_again()
            await self._wait()
        message = self._messages.popleft()
        self._bytes -= len(message)
        self._share.hold(self._bytes)
        return message

    def discard(self) -> None:
        """Nobody reads any further."""
        self._messages.clear()
        self._ahead.clear()
        self._share.hold(0)

    async def _try_again(self) -> None:
        if not self._again:
            raise UpstreamUnreachable(f"{self._what} is away: nobody answers for it on the bus")
        await asyncio.sleep(self._again.pop(0))
        self._nobody = False
        await self.send()

    async def _wait(self) -> None:
        patience = _GAP_SECONDS if self._ahead else self._silence
        try:
            async with asyncio.timeout(patience):
                await self._heard.wait()
        except TimeoutError:
            reason = "lost a message on the bus" if self._ahead else f"gave no sign of life for {patience:g} s"
            raise UpstreamUnreachable(f"{self._what} {reason}") from None
        self._heard.clear()

    def take(self, message: Msg) -> None:
        """Take one message off the bus, in its order."""
        headers = message.headers or {}
        if headers.get("Status") == _NOBODY and not message.data:
            self._nobody = not self._messages and self._next == 1
            self._heard.set()
            return
        if (answer_to := headers.get(ANSWER_TO_HEADER, "")).startswith((_ANSWER_TO, f"{self._subject}.")):
            self.answer_to = answer_to  # nobody else's subjects: who answers must not have us speak to others
        self._heard.set()
        number = headers.get(SEQUENCE_HEADER, "")
        self._put_in_order(int(number) if number.isdecimal() and len(number) < 16 else self._next, message)  # noqa: PLR2004 - digits

    def _put_in_order(self, number: int, message: Msg) -> None:
        if number > self._next + _MAX_AHEAD:
            self._fail(UpstreamUnreachable(f"{self._what} lost messages on the bus"))
        elif number >= self._next:
            self._ahead[number] = message
        while (ready := self._ahead.pop(self._next, None)) is not None:
            self._next += 1
            self._arrived(ready)

    def _arrived(self, message: Msg) -> None:
        data = message.data
        if message.headers and ERROR_CODE_HEADER in message.headers:
            self._fail(self._told(data))
        elif data:
            self._bytes += len(data)
            limit = self._asking.max_answer
            if len(data) > limit:
                self._fail(UpstreamMisbehaved(f"{self._what} sent a message over {limit} bytes"))
            elif self._bytes > limit or len(self._messages) >= _MAX_WAITING:
                self._fail(UpstreamMisbehaved(f"{self._what} sends more than is read: over {limit} bytes wait"))
            elif self.failure is None:
                self._keep(data)

    def _keep(self, data: bytes) -> None:
        try:
            self._share.hold(self._bytes)
        except NoRoom as error:
            self._fail(error)
        else:
            self._messages.append(data)

    def _told(self, data: bytes) -> InterlockError:
        """The failure that the other side told, as one of those that an exchange raises."""
        try:
            error = problem.error_of(data)
        except msgspec.DecodeError:
            return UpstreamMisbehaved(f"{self._what} failed without saying how")
        away = error.retryable if error.status != UpstreamFailed.status else error.code == UpstreamUnreachable.code
        kind = UpstreamUnreachable if away else UpstreamMisbehaved
        return kind(f"{self._what}: {error.detail}", **error.fields)

    def _fail(self, failure: InterlockError) -> None:
        if self.failure is None:
            self.failure = failure


class ExchangeClient:
    """Asks over the bus; of each exchange at most ``max_answer`` bytes wait to be read, and are one message.

    What waits of all of them is in ``room``.
    """

    def __init__(
        self, bus: Bus, subscriptions: Subscriptions, *, max_answer: int,
        silence: float = _MISSED_SIGNS * SIGN_OF_LIFE_SECONDS, room: Room | None = None,
    ) -> None:  # fmt: skip
        self.max_answer = max_answer
        self.room = room or Room(_LARGEST_AT_A_TIME * max_answer)
        self._bus = bus
        self._subscriptions = subscriptions
        self._silence = silence
        self._running: dict[str, BusExchange] = {}
        self._inbox = f"{inbox_prefix(bus.service)}.{bus.instance}.asked"
        self._stopping: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen for what comes back; the bus is connected."""
        await self._subscriptions.add(f"{self._inbox}.*", self._take)

    def reply_subject(self, token: str) -> str:
        return f"{self._inbox}.{token}"

    @asynccontextmanager
    async def open(
        self, subject: str, payload: bytes, headers: dict[str, str], what: str
    ) -> AsyncGenerator[BusExchange]:
        """Ask ``subject``; leaving the block before the response has come cancels at the other side."""
        token = secrets.token_hex(8)
        asked = self._running[token] = BusExchange(self, subject, token, what, self._silence)
        asked.request = (payload, headers)
        try:
            await asked.send()
            yield asked
        finally:
            del self._running[token]
            asked.discard()
            if not asked.over and asked.answer_to:
                await self.say(asked.answer_to, Said(asked.reply, "cancel"))

    async def publish(self, subject: str, payload: bytes, reply: str, headers: dict[str, str]) -> None:
        async with self._bus.lease() as client:
            await client.publish(subject, payload, reply, headers=headers)

    async def say(self, answer_to: str, said: Said) -> None:
        """Say something to whoever answers; what does not reach it, it finds out by itself."""
        with contextlib.suppress(NatsError, Unavailable):
            async with self._bus.lease() as client:
                await client.publish(answer_to, msgspec.json.encode(said))

    def _take(self, message: Msg) -> None:
        asked = self._running.get(message.subject.rpartition(".")[2])
        if asked is not None:
            asked.take(message)
            return
        answer_to = (message.headers or {}).get(ANSWER_TO_HEADER, "")
        if answer_to.startswith(_ANSWER_TO):  # it goes on, and nobody waits for it any more
            telling = asyncio.create_task(self.say(answer_to, Said(message.subject, "cancel")), name="cancel exchange")
            self._stopping.add(telling)
            telling.add_done_callback(self._stopping.discard)
