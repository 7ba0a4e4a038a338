"""For tests: a transport whose upstream is a function, which says things, asks, and answers."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from interlock_common.messages.catalog import Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import ErrorObject, RpcError
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.upstreams.transport import Exchange, UpstreamRequest

ADA = "ada@example.com"
EVERYTHING = b'{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}'
"""The capabilities of a client that can be asked anything."""
FORM: dict[str, Any] = {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}}
SAID: dict[str, Any] = {"action": "accept", "content": {"name": "Ada"}}

_encode = msgspec.json.encode


@dataclass
class Stage:
    """One exchange, as the upstream sees it."""

    request: UpstreamRequest
    ids: "itertools.count[int]"
    coming: "asyncio.Queue[bytes | Exception]" = field(default_factory=asyncio.Queue[bytes | Exception])
    waiting: dict[jsonrpc.Id, "asyncio.Future[jsonrpc.Envelope]"] = field(default_factory=dict[Any, Any])

    @property
    def params(self) -> dict[str, Any]:
        return msgspec.json.decode(self.request.params)

    def notify(self, method: str, **params: Any) -> None:
        self.coming.put_nowait(jsonrpc.notification(method, _encode(params)))

    async def ask(self, method: str, **params: Any) -> Any:
        """The result of the client, or its error object."""
        response = await self.asked(method, **params)
        return msgspec.json.decode(response.result if isinstance(response.result, msgspec.Raw) else response.error)  # pyright: ignore[reportArgumentType]

    def asked(self, method: str, **params: Any) -> "asyncio.Future[jsonrpc.Envelope]":
        """Ask without waiting."""
        number = next(self.ids)
        answered = self.waiting[number] = asyncio.get_running_loop().create_future()
        self.coming.put_nowait(jsonrpc.request(number, method, _encode(params)))
        return answered

    def answer(self, result: Any) -> None:
        raw = result if isinstance(result, bytes) else _encode(result)
        self.coming.put_nowait(jsonrpc.answer(1, raw))

    def fail(self, code: int, message: str = "no", data: dict[str, Any] | None = None) -> None:
        self.coming.put_nowait(jsonrpc.failure(1, ErrorObject(code, message, data)))


type Play = Callable[[Stage], Awaitable[None]]


@dataclass
class Scripted:
    """Plays ``play`` for each exchange; ``opened`` are the requests, ``ended`` says how many were left early."""

    play: Play
    opened: list[UpstreamRequest] = field(default_factory=list[UpstreamRequest])
    cancelled: int = 0
    sessions_ended: list[str] = field(default_factory=list[str])
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(100))

    @asynccontextmanager
    async def open(self, request: UpstreamRequest) -> AsyncGenerator[Exchange]:
        self.opened.append(request)
        stage = Stage(request, self._ids)
        exchange = _ScriptedExchange(stage)
        playing = asyncio.create_task(self._run(stage))
        try:
            yield exchange
        finally:
            self.cancelled += not exchange.over
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            self.closed.set()

    def listen(
        self, upstream: Upstream, principal: str, session_key: str, uris: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError

    async def notify(self, upstream: Upstream, principal: str, session_key: str, message: bytes) -> None:
        raise NotImplementedError

    async def end_session(self, upstream: Upstream, session_key: str) -> None:
        del upstream
        self.sessions_ended.append(session_key)

    async def _run(self, stage: Stage) -> None:
        try:
            await self.play(stage)
        except Exception as error:  # noqa: BLE001 - what the script raises, the exchange raises
            stage.coming.put_nowait(error)


class _ScriptedExchange:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.over = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.over:
            message = await self._stage.coming.get()
            if isinstance(message, Exception):
                raise message
            with contextlib.suppress(RpcError):  # a script may say anything
                self.over = jsonrpc.parse(message).method is None
            yield message

    async def answer(self, message: bytes) -> None:
        envelope = jsonrpc.parse(message)
        assert not isinstance(envelope.id, msgspec.UnsetType)  # noqa: S101 - of tests
        self._stage.waiting.pop(envelope.id).set_result(envelope)


def call_of(
    era: str = "legacy", method: str = "tools/call", *, principal: str = ADA, capabilities: bytes = EVERYTHING,
    upstream: dict[str, Any] | None = None, **params: Any,
) -> UpstreamRequest:  # fmt: skip
    """A request of a client that can do ``capabilities``; ``params`` are its parameters besides the name."""
    to = upstream_at("http://unused.example", era=era, **upstream or {})
    sent = _encode({"name": "echo", "_meta": {}} | params)
    return UpstreamRequest(to, method, "echo", sent, principal, "", capabilities)
