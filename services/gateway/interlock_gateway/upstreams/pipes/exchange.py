"""One request of a conversation: what waits for its asker, under the names that the asker gave."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

import msgspec

from interlock_common.errors import InterlockError, TooLarge
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import Envelope, RpcError

_MAX_WAITING = 1000
_PROGRESS_TOKEN = b"progressToken"
_UNCANCELLABLE = frozenset({"initialize", "server/discover"})


class Answered(Protocol):
    """What takes the answers to what the server asks."""

    max_waiting: int

    async def answered(self, exchange: "PipeExchange", message: bytes) -> None: ...


class PipeExchange:
    """One request under way at the server, and what the server asks meanwhile."""

    def __init__(self, conversation: Answered, number: int, request: Envelope) -> None:
        self.number = number
        self.over = False
        self.cancellable = request.method not in _UNCANCELLABLE
        self.answers_others = request.method != "subscriptions/listen"
        self.token: msgspec.Raw | None = None
        self._id: jsonrpc.Id = None if isinstance(request.id, msgspec.UnsetType) else request.id
        self._conversation = conversation
        self._max_waiting = conversation.max_waiting
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._failure: InterlockError | None = None
        self._heard = asyncio.Event()

    @property
    def own_id(self) -> msgspec.Raw:
        """The id that the asker gave, as JSON."""
        return msgspec.Raw(msgspec.json.encode(self._id))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._iterate()

    async def _iterate(self) -> AsyncGenerator[bytes]:
        while True:
            while self._messages:
                message = self._messages.popleft()
                self._bytes -= len(message)
                yield message
            if self.over:
                return
            if self._failure is not None:
                raise self._failure
            await self._heard.wait()
            self._heard.clear()

    async def answer(self, message: bytes) -> None:
        """The asker's response to what the server asked in this exchange."""
        await self._conversation.answered(self, message)

    def push(self, message: bytes) -> None:
        """Hand over what the server said, as far as there is room."""
        self._bytes += len(message)
        if len(self._messages) >= _MAX_WAITING or self._bytes > self._max_waiting:
            self.fail(TooLarge("the server says more than is read"))
        else:
            self._messages.append(message)
            self._heard.set()

    def finish(self, answer: Envelope) -> None:
        if answer.error is not msgspec.UNSET:
            message = jsonrpc.failure(self._id, answer.error)
        else:
            result = b"{}" if answer.result is msgspec.UNSET else bytes(answer.result)
            message = jsonrpc.answer(self._id, result)
        self.push(message)
        self.over = True
        self._heard.set()

    def fail(self, failure: InterlockError) -> None:
        self._failure = self._failure or failure
        self._heard.set()


def with_token(params: msgspec.Raw, exchange: PipeExchange) -> bytes:
    """The parameters with a progress token of ours where the asker set one of its own."""
    raw = bytes(params)
    if _PROGRESS_TOKEN not in raw:
        return raw
    try:
        found = jsonrpc.members(params)
        meta = jsonrpc.members(found.get("_meta", msgspec.Raw(b"{}")))
    except RpcError:
        return raw
    exchange.token = meta.get("progressToken")
    if exchange.token is None:
        return raw
    named = meta | {"progressToken": msgspec.Raw(b"%d" % exchange.number)}
    return msgspec.json.encode(found | {"_meta": msgspec.Raw(msgspec.json.encode(named))})
