"""The streams that sessions of the handshake era hold open (GET): notifications, and a sign of life."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from interlock_gateway.reply import Reply
from interlock_gateway.sessions import SessionEnd

KEEP_ALIVE_SECONDS = 15.0
_CHECK_SECONDS = 1.0
_MAX_WAITING = 64
TOOLS_CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


class Streams:
    """The open streams of this edge; a reader too slow for its notifications is disconnected."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes]] = set()

    def broadcast(self, message: bytes) -> None:
        """Say ``message`` on every stream; one list_changed that waits to be sent is enough."""
        for queue in self._queues:
            if queue.qsize() < _MAX_WAITING and not (queue.qsize() and message == TOOLS_CHANGED):
                queue.put_nowait(message)

    async def serve(self, reply: Reply, receive: Callable[[], Awaitable[dict[str, Any]]], end: SessionEnd) -> None:
        """Hold the stream open until the client leaves or the session ends."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_MAX_WAITING)
        self._queues.add(queue)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await reply.open_stream()
            await reply.comment(b"open")
            await self._pump(reply, queue, gone, end)
        finally:
            gone.cancel()
            self._queues.discard(queue)
        await reply.end_stream()

    async def _pump(self, reply: Reply, queue: asyncio.Queue[bytes], gone: asyncio.Task[None], end: SessionEnd) -> None:
        quiet = 0.0
        while not gone.done() and not end.reached():
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await reply.event(await queue.get())
                    quiet = 0.0
            except TimeoutError:
                quiet += _CHECK_SECONDS
                if quiet >= KEEP_ALIVE_SECONDS:
                    await reply.comment(b"keep-alive")
                    quiet = 0.0


async def _disconnected(receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
