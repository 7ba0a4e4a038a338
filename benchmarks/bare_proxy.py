"""The yardstick: a byte proxy on aiohttp that looks at nothing, and therefore protects nothing."""

import argparse
from collections.abc import AsyncGenerator

import aiohttp
import uvloop
from aiohttp import web

_UPSTREAM = web.AppKey("upstream", str)
_CLIENT = web.AppKey("client", aiohttp.ClientSession)
_DROPPED = frozenset({"host", "content-length", "connection", "transfer-encoding"})


async def forward(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
    async with request.app[_CLIENT].post(request.app[_UPSTREAM], data=body, headers=headers) as answer:
        content = await answer.read()
        return web.Response(status=answer.status, body=content, content_type=answer.content_type)


async def _client(app: web.Application) -> AsyncGenerator[None]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256), auto_decompress=False) as session:
        app[_CLIENT] = session
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    app = web.Application()
    app[_UPSTREAM] = options.upstream
    app.cleanup_ctx.append(_client)
    app.router.add_post("/mcp", forward)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=lambda *_: None)


if __name__ == "__main__":
    main()
