"""An upstream whose one tool takes half a minute, and that notes who gives up on it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

_TOOL: dict[str, Any] = {"name": "wait", "description": "Wait.", "inputSchema": {"type": "object", "properties": {}}}
_SAID: dict[str, dict[str, Any]] = {
    "server/discover": {
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
        "ttlMs": 60_000, "cacheScope": "public",
    },
    "tools/list": {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public", "tools": [_TOOL]},
}  # fmt: skip


@dataclass
class SlowUpstream:
    """``called`` once a call has come, ``cancelled`` at the loop's time at which it was given up."""

    url: str = ""
    called: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Future[float] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def answer(self, request: web.Request) -> web.Response:
        message: dict[str, Any] = await request.json()
        method = message["method"]
        if method == "tools/call":
            await self._wait()
        result = _SAID.get(method, {"resultType": "complete", "content": []})
        return web.json_response({"jsonrpc": "2.0", "id": message.get("id"), "result": result})

    async def _wait(self) -> None:
        self.called.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.set_result(asyncio.get_running_loop().time())
            raise


@asynccontextmanager
async def slow_upstream() -> AsyncGenerator[SlowUpstream]:
    upstream = SlowUpstream()
    app = web.Application()
    app.router.add_post("/mcp", upstream.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        yield upstream
    finally:
        await runner.cleanup()
