"""The streams that sessions of the handshake era hold open (GET): notifications, and a sign of life."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from interlock_gateway.reply import Reply
from interlock_gateway.sessions import SessionEnd

_log = structlog.get_logger()
KEEP_ALIVE_SECONDS = 15.0
_CHECK_SECONDS = 1.0
_MAX_WAITING = 64
_SEND_SECONDS = 30.0
TOOLS_CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


class Streams:
    """The open streams of this edge; a reader too slow for its notifications is disconnected."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes]] = set()
        self._closing = False

    def close(self) -> None:
        """End every stream within a second; their clients reconnect, to another edge."""
        self._closing = True

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
            await _sent(reply.comment(b"open"))
            await self._pump(reply, queue, gone, end)
            await _sent(reply.end_stream())
        except TimeoutError:
            _log.warning("stream dropped: its reader takes nothing", seconds=_SEND_SECONDS)
        finally:
            gone.cancel()
            self._queues.discard(queue)

    async def _pump(self, reply: Reply, queue: asyncio.Queue[bytes], gone: asyncio.Task[None], end: SessionEnd) -> None:
        quiet = 0.0
        while not (self._closing or gone.done() or end.reached()):
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    message = await queue.get()
            except TimeoutError:
                quiet += _CHECK_SECONDS
                if quiet >= KEEP_ALIVE_SECONDS:
                    await _sent(reply.comment(b"keep-alive"))
                    quiet = 0.0
            else:
                await _sent(reply.event(message))
                quiet = 0.0


async def _sent(sending: Awaitable[None]) -> None:
    """Wait for a reader to take something; raises TimeoutError when it has not for too long."""
    async with asyncio.timeout(_SEND_SECONDS):
        await sending


async def _disconnected(receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
