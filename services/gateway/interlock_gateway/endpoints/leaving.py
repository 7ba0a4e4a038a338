"""A client that leaves: in the stateless era closing the connection cancels the call (MCP 2026-07-28, transports)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from interlock_gateway.endpoints.reply import Gone
from interlock_gateway.endpoints.requests import Receive

_PATIENCE_SECONDS = 0.25
"""Most calls are over before then, and cost no watcher."""


@asynccontextmanager
async def while_connected(receive: Receive, lost: asyncio.Event) -> AsyncGenerator[None]:
    """Cancel the block when the client disconnects, or is ``lost``; it then raises Gone."""
    task = asyncio.current_task()
    if task is None:  # only a coroutine that runs in a task can be cancelled
        raise RuntimeError("a call must run in a task")
    loop = asyncio.get_running_loop()
    watchers: list[asyncio.Task[None]] = []
    timer = loop.call_later(_PATIENCE_SECONDS, lambda: watchers.append(loop.create_task(_cancel(task, receive, lost))))
    try:
        yield
    except asyncio.CancelledError:
        left = bool(watchers) and watchers[0].done()
        if not left or task.uncancel():  # somebody else's cancellation goes on, even when both come at once
            raise
        raise Gone from None
    finally:
        timer.cancel()
        for watcher in watchers:
            watcher.cancel()


async def _cancel(task: asyncio.Task[object], receive: Receive, lost: asyncio.Event) -> None:
    ways = [asyncio.ensure_future(_disconnected(receive)), asyncio.ensure_future(lost.wait())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
    task.cancel("the client left")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
