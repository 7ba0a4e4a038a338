"""An exchange in a task of its own: it goes on while no request of a client is there to drive it."""

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.upstreams.transport import Exchange

_AHEAD = 64
_AHEAD_BYTES = 1024 * 1024
_MAX_PING = 4096


class Detached:
    """Runs an exchange and keeps what it says until it is read; pings of the upstream are answered at once.

    At most 64 messages and about 1 MiB wait, then the upstream is not read any further.
    """

    def __init__(self, opening: AbstractAsyncContextManager[Exchange], name: str) -> None:
        self._opening = opening
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._exchange: Exchange | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=name)
        self._task.add_done_callback(self._ended)

    async def next(self) -> bytes | None:
        """The next message; None after the last. Raises what the exchange raised. Loses nothing when cancelled."""
        while not self._messages:
            if self._task.done():
                if not self._task.cancelled() and (failure := self._task.exception()) is not None:
                    raise failure
                return None
            self._arrived.clear()
            await self._arrived.wait()
        message = self._messages.popleft()
        self._bytes -= len(message)
        self._room.set()
        return message

    async def answer(self, message: bytes) -> None:
        """Send the response to a request of the upstream; one that has ended needs none."""
        if self._exchange is not None and not self._task.done():
            await self._exchange.answer(message)

    async def close(self) -> None:
        """End the exchange; what was not answered yet is cancelled at the upstream."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        async with self._opening as self._exchange:
            async for message in self._exchange:
                if len(message) < _MAX_PING and (ping := _id_of_ping(message)) is not None:
                    await self._exchange.answer(jsonrpc.answer(ping, b"{}"))
                    continue
                self._messages.append(message)
                self._bytes += len(message)
                self._arrived.set()
                while len(self._messages) >= _AHEAD or self._bytes > _AHEAD_BYTES:
                    self._room.clear()
                    await self._room.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # looked at, even where nobody reads any further
        self._arrived.set()


def _id_of_ping(message: bytes) -> jsonrpc.Id:
    if b'"ping"' not in message:
        return None
    try:
        envelope = jsonrpc.parse(message)
    except RpcError:
        return None  # whoever reads it will say so
    return envelope.id if envelope.method == "ping" and not isinstance(envelope.id, msgspec.UnsetType) else None
