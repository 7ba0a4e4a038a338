"""Real upstreams on loopback, and how the catalog describes them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from interlock_common.messages.catalog import Definition, Upstream
from interlock_gateway.revisions import MODERN
from interlock_gateway.testing.callers import ROOT

RESULT = b'{"content":[{"type":"text","text":"done"}]}'

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """A real HTTP server on loopback that answers every request with ``handler``; yields its URL."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


def upstream_at(url: str, *tools: str, **changes: Any) -> Upstream:
    """A public modern upstream called notes, with a tool ``echo`` unless others are named."""
    definitions = tuple(
        Definition(name, msgspec.Raw(b'{"name":"%s","inputSchema":{}}' % name.encode()), f"sha256:{name}")
        for name in tools or ("echo",)
    )
    base = Upstream("u1", "notes", "notes", url, "modern", MODERN, ROOT, tools=definitions)
    return msgspec.structs.replace(base, **changes)


def result_of(request_id: Any, result: bytes = RESULT) -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (msgspec.json.encode(request_id), result)
