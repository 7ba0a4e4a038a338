"""A balancer that remembers nothing: each request goes to the next edge, over a connection of its own.

Bodies are passed on as they come, in both directions, so event streams arrive event by event.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import cycle

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout, TCPConnector, web

from interlock_common.ports import choose_free

HOST = "127.0.0.1"
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"})
_CONNECT_SECONDS = 5.0
_DRAIN_SECONDS = 1.0
_MOST_BYTES = 64 * 1024 * 1024


class RoundRobin:
    """Passes requests to the edges in turn; ``served`` counts what each of them got."""

    def __init__(self, edges: Sequence[str], http: ClientSession) -> None:
        self.served = dict.fromkeys(edges, 0)
        self._edges = cycle(edges)
        self._http = http

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer with what the next edge answers, or 502 where it cannot be reached."""
        edge = next(self._edges)
        self.served[edge] += 1
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP]
        body = await request.read() if request.can_read_body else None
        try:
            answer = await self._http.request(
                request.method,
                edge + request.raw_path,
                headers=headers,
                data=body,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
            )
        except ClientConnectionError:
            return web.Response(status=502, text=f"{edge} does not answer")
        async with answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(kept)
            await response.prepare(request)
            async for part in answer.content.iter_any():
                await response.write(part)
            await response.write_eof()
            return response


@asynccontextmanager
async def round_robin(edges: Sequence[str], port: int | None = None) -> AsyncGenerator[tuple[str, RoundRobin]]:
    """The URL of a balancer over the edges' URLs, and the balancer."""
    port = choose_free(1)[0] if port is None else port
    connector = TCPConnector(force_close=True, limit=0)
    timeout = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    async with ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as http:
        balancer = RoundRobin(edges, http)
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", balancer.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_DRAIN_SECONDS, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
            yield f"http://{HOST}:{port}", balancer
        finally:
            async with asyncio.timeout(2 * _DRAIN_SECONDS + _CONNECT_SECONDS):
                await runner.cleanup()
