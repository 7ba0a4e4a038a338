"""The gateway as the one client of a server at the end of a pipe, on behalf of many: stdio, and tunnels.

Requests get ids and progress tokens of ours and their answers the asker's own back, so that no two askers collide.
What the server says goes to the exchange it belongs to; what belongs to none is told to ``unsolicited``.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import msgspec
import structlog

from interlock_common.errors import InterlockError, Unavailable, UpstreamFailed
from interlock_common.messages.gateway import Description
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import Envelope, ErrorObject, RpcError
from interlock_gateway.upstreams.pipes.exchange import PipeExchange, with_token
from interlock_gateway.upstreams.pipes.introduction import introduce

_log = structlog.get_logger()
_MAX_ASKED = 256
_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
_CHANGES = frozenset({
    "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed",
    "notifications/resources/updated",
})  # fmt: skip

type Unsolicited = Callable[[bytes], None]


class Pipe(Protocol):
    """Where a server is: messages in and out. Both raise an InterlockError that says why it has ended."""

    async def send(self, message: bytes) -> None: ...
    async def receive(self) -> bytes: ...
    async def close(self) -> None: ...


class Conversation:
    """What goes on over one pipe; ``description`` is known once it has begun.

    ``capabilities`` is what the server is told that its client can do; where it is None nobody is behind it whom
    the server could ask. ``max_waiting`` bounds the bytes that wait for one asker.
    """

    def __init__(
        self, pipe: Pipe, *, name: str, unsolicited: Unsolicited, capabilities: bytes | None = None,
        max_waiting: int = 16 * 1024 * 1024,
    ) -> None:  # fmt: skip
        self.max_waiting = max_waiting
        self.description: Description | None = None
        self.ended = asyncio.Event()
        self.reason: InterlockError = Unavailable(f"{name} is not connected")
        self._pipe = pipe
        self._name = name
        self._unsolicited = unsolicited
        self._capabilities = capabilities
        self._numbers = itertools.count(1)
        self._running: dict[int, PipeExchange] = {}
        self._asked: dict[str, tuple[jsonrpc.Id, PipeExchange]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        return bool(self._running)

    async def begin(self, *, known_legacy: bool, probe_seconds: float, start_seconds: float) -> Description:
        """Read from here on, and find out what the server is; raises an InterlockError where it is none."""
        self._reading = asyncio.create_task(self._read(), name=f"conversation with {self._name}")
        try:
            async with asyncio.timeout(start_seconds):
                self.description = await introduce(
                    self, self._capabilities or b"{}", known_legacy=known_legacy, probe_seconds=probe_seconds
                )
        except TimeoutError:
            raise UpstreamFailed(f"{self._name} did not introduce itself within {start_seconds:g} s") from None
        return self.description

    def give_up(self, reason: InterlockError) -> None:
        """Count as ended from here on; whoever looks after it closes it."""
        self._end(reason)

    async def close(self) -> None:
        """End the pipe and everything that runs over it."""
        await self._pipe.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, *self._sending, return_exceptions=True)
        self._end(Unavailable(f"{self._name} was ended"))

    @asynccontextmanager
    async def open(self, payload: bytes) -> AsyncGenerator[PipeExchange]:
        """Pass a JSON-RPC request on; leaving the block before its response cancels it at the server."""
        try:
            request = jsonrpc.parse(payload)
        except RpcError as error:
            raise UpstreamFailed(f"what was to be asked of {self._name} is no request: {error}") from None
        if request.method is None or request.id is msgspec.UNSET:
            raise UpstreamFailed(f"what was to be asked of {self._name} is no request")
        exchange = PipeExchange(self, next(self._numbers), request)
        params = with_token(request.params, exchange)
        if self.ended.is_set():
            raise self.reason
        self._running[exchange.number] = exchange
        try:
            await self.send(jsonrpc.request(exchange.number, request.method, params))
            yield exchange
        finally:
            del self._running[exchange.number]
            await self._left(exchange)

    async def pass_on(self, message: bytes) -> None:
        """Pass on what a client says; a server that was told of no client hears of none."""
        if self._capabilities is not None:
            with suppress(InterlockError):  # it has ended, and asks anew when it is begun again
                await self.send(message)

    async def subscribe(self, uris: Sequence[str]) -> None:
        """Subscribe to resources, and wait until the server has ended (handshake era)."""
        for uri in uris:
            await self.request("resources/subscribe", msgspec.json.encode({"uri": uri}))
        try:
            await self.ended.wait()
        finally:
            for uri in uris if not self.ended.is_set() else ():
                with suppress(InterlockError):
                    await self.request("resources/unsubscribe", msgspec.json.encode({"uri": uri}))

    async def request(self, method: str, params: bytes) -> Envelope:
        """Ask the server something of our own, and wait for the response."""
        async with self.open(jsonrpc.request(0, method, params)) as exchange:
            async for message in exchange:
                envelope = jsonrpc.parse(message)
                if envelope.method is None:
                    return envelope
        raise self.reason

    async def notify(self, method: str, params: bytes = b"{}") -> None:
        await self.send(b'{"jsonrpc":"2.0","method":"%s","params":%s}' % (method.encode(), params))

    async def send(self, message: bytes) -> None:
        await self._pipe.send(message)

    async def answered(self, exchange: PipeExchange, message: bytes) -> None:
        """Pass an asker's response on, if the server asked for it in this exchange."""
        envelope = jsonrpc.parse(message)
        found = self._asked.get(str(envelope.id))
        if envelope.method is not None or found is None or found[1] is not exchange:
            raise UpstreamFailed(f"{self._name} asked nothing that this answers")
        del self._asked[str(envelope.id)]
        if envelope.error is not msgspec.UNSET:
            await self.send(jsonrpc.failure(found[0], envelope.error))
        else:
            await self.send(
                jsonrpc.answer(found[0], b"{}" if envelope.result is msgspec.UNSET else bytes(envelope.result))
            )

    async def _left(self, exchange: PipeExchange) -> None:
        """Cancel what nobody waits for any more, in both directions."""
        with suppress(InterlockError):
            for ours, (theirs, owner) in list(self._asked.items()):
                if owner is exchange:
                    del self._asked[ours]
                    error = ErrorObject(jsonrpc.INTERNAL_ERROR, "the request in which this was asked is over")
                    await self.send(jsonrpc.failure(theirs, error))
            if not exchange.over and exchange.cancellable and not self.ended.is_set():
                params = b'{"requestId":%d,"reason":"nobody waits for it any more"}' % exchange.number
                await self.notify("notifications/cancelled", params)

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._pipe.receive())
        except InterlockError as error:
            self._end(error)

    def _end(self, reason: InterlockError) -> None:
        if self.ended.is_set():
            return
        self.reason = reason
        self.ended.set()
        for exchange in self._running.values():
            exchange.fail(reason)

    def _take(self, message: bytes) -> None:
        try:
            envelope = jsonrpc.parse(message)
        except RpcError:
            _log.warning("a server wrote what is no message", server=self._name, size=len(message))
            return
        if envelope.method is None:
            exchange = self._running.get(envelope.id) if isinstance(envelope.id, int) else None
            if exchange is not None:
                exchange.finish(envelope)
        elif envelope.id is msgspec.UNSET:
            self._notified(envelope, message)
        else:
            self._requested(envelope, envelope.id)

    def _notified(self, envelope: Envelope, message: bytes) -> None:
        """A notification: of progress, of a subscription, of a change, or of what runs at the moment."""
        try:
            params = jsonrpc.members(envelope.params)
            exchange, theirs = self._belongs(envelope, params)
        except RpcError:
            return
        if exchange is not None:
            exchange.push(message if theirs is None else theirs)
        elif envelope.method in _CHANGES:
            self._unsolicited(message)
        elif (related := self._related()) is not None and envelope.method != "notifications/progress":
            related.push(message)

    def _belongs(self, envelope: Envelope, params: dict[str, msgspec.Raw]) -> tuple[PipeExchange | None, bytes | None]:
        """The exchange that a notification names, and the notification in the words of its asker."""
        if envelope.method == "notifications/progress":
            exchange = self._numbered(params.get("progressToken"))
            if exchange is None or exchange.token is None:
                return None, None
            return exchange, _notification(envelope, params | {"progressToken": exchange.token})
        if envelope.method == "notifications/cancelled":
            return self._withdrawn(params.get("requestId"))
        if b"subscriptionId" not in bytes(envelope.params):
            return None, None
        meta = jsonrpc.members(params.get("_meta", msgspec.Raw(b"{}")))
        exchange = self._numbered(meta.get(_SUBSCRIPTION))
        if exchange is None:
            return None, None
        named = meta | {_SUBSCRIPTION: exchange.own_id}
        return exchange, _notification(envelope, params | {"_meta": msgspec.Raw(msgspec.json.encode(named))})

    def _withdrawn(self, theirs: msgspec.Raw | None) -> tuple[PipeExchange | None, bytes | None]:
        """The server no longer wants an answer to what it asked."""
        wanted = bytes(theirs or b"")
        for ours, (id_, exchange) in self._asked.items():
            if msgspec.json.encode(id_) == wanted:
                del self._asked[ours]
                params = msgspec.json.encode({"requestId": ours})
                return exchange, b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":%s}' % params
        return None, None

    def _numbered(self, raw: msgspec.Raw | None) -> PipeExchange | None:
        text = bytes(raw or b"")
        return self._running.get(int(text)) if text.isdigit() and len(text) < 16 else None  # noqa: PLR2004 - digits

    def _related(self) -> PipeExchange | None:
        """The exchange that is most likely meant: the only one, or the one that began last."""
        return next((one for one in reversed(self._running.values()) if one.answers_others), None)

    def _requested(self, envelope: Envelope, theirs: jsonrpc.Id) -> None:
        exchange = self._related()
        if envelope.method == "ping":
            self._soon(jsonrpc.answer(theirs, b"{}"))
        elif exchange is None or self._capabilities is None or len(self._asked) >= _MAX_ASKED:
            error = ErrorObject(jsonrpc.METHOD_NOT_FOUND, "there is no client that could be asked this")
            self._soon(jsonrpc.failure(theirs, error))
        else:
            ours = f"s{next(self._numbers)}"
            self._asked[ours] = (theirs, exchange)
            exchange.push(jsonrpc.request(ours, envelope.method or "", envelope.params))

    def _soon(self, message: bytes) -> None:
        """Send without holding up the reading; what cannot be sent any more is of no use to anybody."""

        async def send() -> None:
            with suppress(InterlockError):
                await self.send(message)

        task = asyncio.create_task(send(), name=f"answer to {self._name}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


def _notification(envelope: Envelope, params: dict[str, msgspec.Raw]) -> bytes:
    method = msgspec.json.encode(envelope.method)
    return b'{"jsonrpc":"2.0","method":%s,"params":%s}' % (method, msgspec.json.encode(params))
