"""``/ws`` and ``/servers/{id}/ws``: JSON-RPC messages over a WebSocket, in either era.

The connection is the session of a client of the handshake era, and its stream: what a server asks and says unasked
comes over it. A stateless request says in its ``_meta`` what it is, as it does over HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from typing import Any

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError
from interlock_gateway.authentication import Authenticator
from interlock_gateway.caller import Caller
from interlock_gateway.certificates.shown import fingerprint_of, shown_by
from interlock_gateway.changes.hub import Changes
from interlock_gateway.client_address import client_address
from interlock_gateway.endpoints.refusals import challenge, check_origin
from interlock_gateway.endpoints.reply import Send
from interlock_gateway.endpoints.requests import Receive, Scope
from interlock_gateway.endpoints.ws_connection import WsConnection, WsGone
from interlock_gateway.guard.rate_limits import COUNTED, RateLimits
from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.methods import Methods
from interlock_gateway.recording import Recorder
from interlock_gateway.routing import Catalog, offer_for
from interlock_gateway.sessions.registry import Sessions
from interlock_gateway.sessions.traffic import SessionTraffic

_log = structlog.get_logger()
_SUBPROTOCOL = "mcp"
_MAX_CONNECTIONS = 1_000
_MAX_PER_PRINCIPAL = 100
_POLICY, _GOING_AWAY, _TRY_LATER = 1008, 1001, 1013
"""Close codes (RFC 6455, section 7.4.1, and the IANA registry)."""


@dataclass(frozen=True, slots=True)
class WsDependencies:
    """What a connection needs to serve its messages."""

    catalog: Catalog
    methods: Methods
    sessions: Sessions
    changes: Changes
    recorder: Recorder
    clock: Clock
    max_message: int
    answer_timeout: float
    limits: RateLimits
    traffic: SessionTraffic


class WsEndpoint:
    """Admits WebSockets and serves each until it ends, its token does, or the edge."""

    def __init__(
        self, dependencies: WsDependencies, authenticator: Authenticator, live: LiveWork, *,
        origins: Container[str], public_url: str,
    ) -> None:  # fmt: skip
        self._dependencies = dependencies
        self._authenticator = authenticator
        self._live = live
        self._origins = origins
        self._public_url = public_url
        self._open: dict[WsConnection, str] = {}

    async def close(self) -> None:
        """Tell every client to come back, to another edge."""
        await asyncio.gather(*(connection.close(_GOING_AWAY) for connection in self._open))

    async def __call__(self, scope: Scope, receive: Receive, send: Send, server_id: str | None) -> None:
        await receive()  # websocket.connect
        headers = dict(scope["headers"])
        try:
            check_origin(headers, self._origins)
            caller = self._authenticator.caller(
                headers.get(b"authorization"), client_address(scope), server_id, shown=shown_by(scope)
            )
            offer_for(self._dependencies.catalog, caller, server_id)
            self._dependencies.limits.count_caller(
                caller.principal, caller.token_id, scope.get(COUNTED), certificate=caller.limited_as
            )
        except InterlockError as error:
            await self._deny(scope, send, headers, error, server_id)
            return
        of_principal = sum(each == caller.principal for each in self._open.values())
        if len(self._open) >= _MAX_CONNECTIONS or of_principal >= _MAX_PER_PRINCIPAL:
            await send({"type": "websocket.close", "code": _TRY_LATER})
            return
        offered: list[str] = scope.get("subprotocols") or []
        await send({"type": "websocket.accept", "subprotocol": _SUBPROTOCOL if _SUBPROTOCOL in offered else None})
        connection = WsConnection(self._dependencies, caller, server_id, _peer(scope), send)
        self._open[connection] = caller.principal
        try:
            await self._serve(connection, caller, receive)
        finally:
            del self._open[connection]

    async def _serve(self, connection: WsConnection, caller: Caller, receive: Receive) -> None:
        left = min(caller.expires_at - self._dependencies.clock.time(), 2**31)
        try:
            with self._live.on_behalf_of(caller):
                async with asyncio.timeout(left):
                    await _until_gone(connection.serve(_texts(receive)))
        except (Ended, TimeoutError):  # revoked, or expired
            await connection.close(_POLICY)

    async def _deny(
        self, scope: Scope, send: Send, headers: dict[bytes, bytes], error: InterlockError, server_id: str | None
    ) -> None:
        """Refuse before the upgrade: as an HTTP answer where the server can, by closing otherwise."""
        self._dependencies.recorder.refusal(
            error.code, status=error.status, method="websocket", target=scope["path"], caller=None, peer=_peer(scope),
            certificate=fingerprint_of(scope),
        )  # fmt: skip
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _POLICY})
            return
        oauth = self._dependencies.catalog.advertises_oauth(server_id)
        extra = challenge(error, headers, server_id, self._public_url, oauth=oauth)
        await send({"type": "websocket.http.response.start", "status": error.status, "headers": list(extra)})
        await send({"type": "websocket.http.response.body", "body": b""})


async def _until_gone(serving: Awaitable[None]) -> None:
    try:
        await serving
    except* WsGone:
        _log.info("a websocket ended: its client has left, or takes nothing")


def _texts(receive: Receive) -> Callable[[], Awaitable[bytes | None]]:
    """The messages of a client, None when it has left; binary frames count as text."""

    async def following() -> bytes | None:
        message: dict[str, Any] = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text.encode() if text is not None else message.get("bytes") or b""

    return following


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""
