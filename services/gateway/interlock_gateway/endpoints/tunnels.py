"""``/reverse-proxy/ws``: where servers dial in, over a WebSocket (RFC 6455) whose text messages are JSON-RPC messages.

The query says ``name``, and may say ``visibility``, ``team`` and ``description``. The first message of the edge is the
notification ``interlock/connected``. A tunnel ends with its token.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from urllib.parse import parse_qs

import msgspec

from interlock_common import problem
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, InvalidInput, Unauthenticated, Unavailable
from interlock_common.messages.catalog import Visibility
from interlock_common.messages.gateway import Tunnel
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints.reply import Send
from interlock_gateway.endpoints.requests import Receive, Scope
from interlock_gateway.exchanges.tunnels import Tunnels, Wish
from interlock_gateway.live import Ended, LiveWork

PATH = "/reverse-proxy/ws"
_SEND_SECONDS = 30.0
_REFUSED, _GOING_AWAY = 4000, 1001
_MAX_REASON = 120  # bytes that a closing frame holds, less its code (RFC 6455, section 5.5)

_VISIBILITIES: dict[str, Visibility] = {"public": "public", "team": "team", "private": "private"}

type Authenticate = Callable[[Scope], Caller]
"""Of the request that opens the WebSocket."""


class SocketPipe:
    """A WebSocket as the pipe of a conversation."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._sending = asyncio.Lock()
        self._ended = False
        self._closed = False

    async def send(self, message: bytes) -> None:
        if self._closed or self._ended:
            raise Unavailable("the tunnel is closed")
        try:
            async with self._sending, asyncio.timeout(_SEND_SECONDS):
                await self._send({"type": "websocket.send", "text": message.decode()})
        except TimeoutError:
            self._closed = True
            raise Unavailable(f"the tunnel took nothing for {_SEND_SECONDS:g} s") from None
        except (OSError, RuntimeError, UnicodeDecodeError):  # the connection is gone, in the server's words
            self._closed = True
            raise Unavailable("the tunnel is closed") from None

    async def receive(self) -> bytes:
        while not self._closed:
            event = await self._receive()
            if event["type"] != "websocket.receive":
                break
            message = event.get("bytes") or (event.get("text") or "").encode()
            if message:
                return message
        self._closed = True
        raise Unavailable("the tunnel is closed")

    async def close(self) -> None:
        """Take no more messages; what the other end is told comes with ``close_with``."""
        self._ended = True

    async def close_with(self, code: int, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        shown = reason.encode()[:_MAX_REASON].decode(errors="ignore")
        with suppress(OSError, RuntimeError):
            await self._send({"type": "websocket.close", "code": code, "reason": shown})


class TunnelEndpoint:
    """Lets servers dial in."""

    def __init__(self, tunnels: Tunnels, authenticate: Authenticate, live: LiveWork, clock: Clock) -> None:
        self._tunnels = tunnels
        self._authenticate = authenticate
        self._live = live
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        try:
            caller = self._authenticate(scope)
            wish = _wish(scope.get("query_string", b""))
        except InterlockError as error:
            await _refuse(send, error)
            return
        await send({"type": "websocket.accept"})
        await self._hold(SocketPipe(receive, send), wish, caller, _peer(scope))

    async def _hold(self, pipe: SocketPipe, wish: Wish, caller: Caller, peer: str) -> None:
        try:
            with self._live.on_behalf_of(caller):
                left = caller.expires_at - self._clock.time()
                async with asyncio.timeout(min(left, 2**31)):
                    await self._tunnels.hold(pipe, wish, caller.actor(), peer, partial(_greet, pipe))
            await pipe.close_with(_GOING_AWAY, "the session has ended")
        except (Ended, TimeoutError):
            await pipe.close_with(_REFUSED + 401, "the token no longer counts")
        except InterlockError as error:
            await pipe.close_with(_REFUSED + error.status, error.detail)


async def _greet(pipe: SocketPipe, tunnel: Tunnel) -> None:
    params = {"session": tunnel.id, "upstream": tunnel.upstream_id, "name": tunnel.name}
    await pipe.send(msgspec.json.encode({"jsonrpc": "2.0", "method": "interlock/connected", "params": params}))


def _wish(query: bytes) -> Wish:
    said = {name: values[-1] for name, values in parse_qs(query.decode("latin-1"), max_num_fields=16).items()}
    visibility = said.get("visibility", "public")
    if visibility not in _VISIBILITIES:
        raise InvalidInput(f"visibility is one of {', '.join(_VISIBILITIES)}")
    if not said.get("name"):
        raise InvalidInput("the query must say the name of the upstream")
    return Wish(said["name"], _VISIBILITIES[visibility], said.get("team"), said.get("description", ""))


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


async def _refuse(send: Send, error: InterlockError) -> None:
    """Refuse the handshake with the status of ``error`` (ASGI, WebSocket denial response)."""
    headers = [(b"content-type", problem.MEDIA_TYPE.encode())]
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    body = problem.encode(problem.problem_of(error))
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
