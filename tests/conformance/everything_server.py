"""An upstream that offers everything, on streamable HTTP, in the eras asked for.

    python tests/conformance/everything_server.py --port 9100 --era modern

``modern`` speaks 2026-07-28 and refuses the handshake; ``legacy`` speaks the revisions with a handshake and
answers a modern request as an old server does; ``both`` is the SDK as it comes. Says on standard output where it
listens, once it does.
"""

import argparse
import asyncio
import socket
import sys

import uvicorn
from starlette.types import ASGIApp

from everything.eras import Door, Era
from everything.event_store import KeptEvents
from everything.server import everything
from everything.world import World

HOST = "127.0.0.1"
_RETRY_MILLISECONDS = 200
_DRAIN_SECONDS = 1


def application(era: Era, pages: int = 0) -> ASGIApp:
    """The server as an ASGI application; its endpoint is ``/mcp``."""
    world = World(pages)
    app = everything(world).streamable_http_app(event_store=KeptEvents(), retry_interval=_RETRY_MILLISECONDS, host=HOST)
    return Door(app, era, world)


async def serve(app: ASGIApp, port: int) -> None:
    """Listen until a signal comes; port 0 takes any that is free."""
    config = uvicorn.Config(
        app,
        http="h11",  # httptools leaves the white space around a header's value (RFC 9110, section 5.5)
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    with socket.create_server((HOST, port), backlog=256) as listening:
        sys.stdout.write(f"http://{HOST}:{listening.getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        await uvicorn.Server(config).serve(sockets=[listening])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--era", type=Era, choices=list(Era), default=Era.BOTH)
    parser.add_argument("--pages", type=int, default=0, help="how many pages of 50 each list has; 0: all in one")
    options = parser.parse_args()
    asyncio.run(serve(application(options.era, options.pages), options.port))


if __name__ == "__main__":
    main()
