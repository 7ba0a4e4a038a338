"""The HTTP server of the edge: uvicorn on a port that replicas share, MCP beside REST."""

import asyncio
import re
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from interlock_common.errors import ConfigurationError
from interlock_common.tls_accept import Acceptor, Refused
from interlock_gateway.endpoints.mcp import McpEndpoint
from interlock_gateway.endpoints.reply import Send
from interlock_gateway.endpoints.requests import Receive, Scope
from interlock_gateway.endpoints.rpc import RpcEndpoint
from interlock_gateway.endpoints.sse import SseEndpoint
from interlock_gateway.endpoints.ws import WsEndpoint
from interlock_gateway.guard.heads import BoundedHttp
from interlock_gateway.tls_front.front import TlsFront
from interlock_gateway.tls_front.peers import EdgeHttp, EdgeWebSocket

_SERVER_PATH = re.compile(r"(?:/servers/([A-Za-z0-9_.-]{1,128}))?/(mcp|sse|messages|ws)/?")
_BACKLOG = 1024
GRACE_SECONDS = 10
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1
_MAX_SOCKET_MESSAGE = 7 * 1024 * 1024  # what the bus carries, with room for its headers
_TICKS = 10  # uvicorn has ten a second


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints of MCP, by the way that each is spoken to."""

    mcp: McpEndpoint
    sse: SseEndpoint
    rpc: RpcEndpoint
    ws: WsEndpoint


class Router:
    """Hands MCP paths to their plain ASGI endpoints and everything else to the REST application.

    ``sockets`` are WebSocket endpoints at other paths.
    """

    def __init__(self, endpoints: Endpoints, rest: Any, sockets: Mapping[str, Any] | None = None) -> None:
        self._rpc = endpoints.rpc
        self._rest = rest
        self._sockets = sockets or {}
        self._of_servers: Mapping[tuple[str, str], Any] = {
            ("http", "mcp"): endpoints.mcp,
            ("http", "sse"): endpoints.sse.stream,
            ("http", "messages"): endpoints.sse.messages,
            ("websocket", "ws"): endpoints.ws,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, kind = scope.get("path", ""), scope["type"]
        match = _SERVER_PATH.fullmatch(path)
        if match and (endpoint := self._of_servers.get((kind, match[2]))):
            await endpoint(scope, receive, send, match[1])
        elif kind == "websocket":
            await self._socket(path, scope, receive, send)
        elif path == "/rpc":
            await self._rpc(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _socket(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if path in self._sockets:
            await self._sockets[path](scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


class EdgeServer(uvicorn.Server):
    """uvicorn without its signal handlers: when the process ends is decided in one place, ``runtime.py``.

    With a ``front`` it speaks TLS, and nothing else.
    """

    def __init__(self, config: uvicorn.Config, front: TlsFront | None, refused: Refused | None) -> None:
        super().__init__(config)
        self.front = front
        self._refused = refused

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.front is None:
            await super().startup(sockets)
            return
        await super().startup([])
        for listener in sockets or []:
            acceptor = Acceptor(listener, self.front.context, self._protocol, refused=self._refused)
            acceptor.start(self.config.backlog)
            self.servers.append(acceptor)  # pyright: ignore[reportArgumentType] - what uvicorn calls of a server, it has

    def _protocol(self) -> asyncio.Protocol:
        return EdgeHttp(self.config, self.server_state, self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in tuple(self.server_state.connections):
                if isinstance(connection, BoundedHttp):
                    connection.check_slow(now)
        return await super().on_tick(counter)


def make_server(app: Any, front: TlsFront | None = None, refused: Refused | None = None) -> EdgeServer:
    """With ``front`` it speaks TLS; ``refused`` hears of handshakes that failed."""
    config = uvicorn.Config(
        app,
        loop="none",  # the process runs uvloop already
        http=EdgeHttp,
        ws=EdgeWebSocket,
        ws_max_size=_MAX_SOCKET_MESSAGE,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        ws_per_message_deflate=False,  # a small message may unpack to a large one
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # believed only from trusted proxies, which uvicorn cannot tell
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=_BACKLOG,
    )  # fmt: skip
    return EdgeServer(config, front, refused)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that other edges on this machine may share (SO_REUSEPORT).

    Raises ConfigurationError naming HOST and PORT when the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"HOST {host} with PORT {port} cannot be used: {error.strerror}") from None
    listener.setblocking(False)
    return listener
