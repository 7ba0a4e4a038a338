"""The outermost layer of the edge: whose address it is, whether it asks too often, and headers of every answer."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from interlock_common import problem
from interlock_common.errors import InterlockError, PermissionDenied
from interlock_gateway import jsonrpc
from interlock_gateway.endpoints.refusals import as_rpc
from interlock_gateway.endpoints.reply import JSON, Send
from interlock_gateway.endpoints.requests import Receive, Scope
from interlock_gateway.guard.client_address import PROXY, TrustedProxies, limited_address
from interlock_gateway.guard.origins import Cors
from interlock_gateway.guard.rate_limits import COUNTED, Counted, RateLimited, RateLimits
from interlock_gateway.guard.security_headers import Pairs, SecurityHeaders
from interlock_gateway.guard.single_headers import HeaderRepeated, check_single

_UNCOUNTED = frozenset({"/health", "/ready"})
"""What load balancers ask, of which one address may have all."""
_LOGINS = frozenset({"/auth/login", "/auth/register", "/oauth/login", "/oauth/authorize", "/oauth/register"})
"""Where passwords are tried, and accounts and clients made."""
_MCP = re.compile(r"(?:/servers/[^/]{1,128})?/(?:mcp|sse|messages)/?|/rpc")
_PROBLEM = (b"content-type", problem.MEDIA_TYPE.encode())

_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})
_OVER_TLS = frozenset({"https", "wss"})
_NO_CONTENT = 204
_TRY_LATER = 1013  # the IANA registry of close codes

type App = Callable[[Scope, Receive, Send], Awaitable[None]]
type KeptOut = RateLimited | HeaderRepeated
type Refused = Callable[[KeptOut, Scope], None]


@dataclass(frozen=True, slots=True)
class Guard:
    """Wraps the application; ``refused`` is told of requests that came no further, to record them."""

    app: App
    limits: RateLimits
    proxies: TrustedProxies
    cors: Cors
    headers: SecurityHeaders
    refused: Refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.proxies.known or PROXY in scope:
            self._see_through(scope)
        counted = scope[COUNTED] = Counted()
        said = scope["headers"]
        by_name = dict(said)
        origin: bytes = by_name.get(b"origin", b"")
        answering = self._answering(send, counted, origin, https=scope["scheme"] in _OVER_TLS)
        path: str = scope["path"]
        if path not in _UNCOUNTED:
            try:
                self._count(scope, path, counted)
                if len(by_name) != len(said):
                    check_single(said)
            except (RateLimited, HeaderRepeated) as error:
                self.refused(error, scope)
                await _refuse(scope, receive, answering, error)
                return
        if origin and scope.get("method") == "OPTIONS" and self.cors.enabled:
            await self._preflight(scope, receive, answering, origin)
        else:
            await self.app(scope, receive, answering)

    def _count(self, scope: Scope, path: str, counted: Counted) -> None:
        client = scope["client"]
        address = limited_address(client[0]) if client else ""
        self.limits.count_address(address, counted, login=path in _LOGINS and scope.get("method") == "POST")

    def _answering(self, send: Send, counted: Counted, origin: bytes, *, https: bool) -> Send:
        headers, cors = self.headers, self.cors

        def answering(message: dict[str, Any]) -> Awaitable[None]:
            if message["type"] in _STARTS:
                said = message.get("headers", ())
                told = [*said, *headers.beside(said, https=https), *counted.headers()]
                message["headers"] = [*told, *cors.readable(origin)] if origin else told
            return send(message)

        return answering

    def _see_through(self, scope: Scope) -> None:
        """Where a trusted proxy speaks for a client, the client is who the rest of the edge sees."""
        peer = scope["client"]
        if peer is None or not (PROXY in scope or self.proxies.trusts(peer[0])):
            return
        headers = scope["headers"]
        client = self.proxies.client(peer[0], headers)
        if client != peer[0]:
            scope["client"] = (client, 0)
        if self.proxies.is_https(headers):
            scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"

    async def _preflight(self, scope: Scope, receive: Receive, send: Send, origin: bytes) -> None:
        said = dict(scope["headers"])
        if b"access-control-request-method" not in said:
            await self.app(scope, receive, send)
            return
        told = self.cors.preflight(origin, said.get(b"access-control-request-headers", b""))
        if told is None:
            await _answer(send, *_as_problem(PermissionDenied("the origin of the page is not allowed here")))
        else:
            await _answer(send, _NO_CONTENT, b"", told)


async def _refuse(scope: Scope, receive: Receive, send: Send, error: KeptOut) -> None:
    """Refuse in the words of what was asked: JSON-RPC, a problem document, or instead of a WebSocket."""
    kind = ""
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _TRY_LATER})
            return
        kind = "websocket."
    status, body, headers = _as_rpc(error) if _MCP.fullmatch(scope["path"]) else _as_problem(error)
    await _answer(send, status, body, (*headers, *_retry_after(error)), kind)


async def _answer(send: Send, status: int, body: bytes, headers: Pairs, kind: str = "") -> None:
    sized = (*headers, (b"content-length", b"%d" % len(body))) if body else headers
    await send({"type": f"{kind}http.response.start", "status": status, "headers": sized})
    await send({"type": f"{kind}http.response.body", "body": body})


def _as_rpc(error: InterlockError) -> tuple[int, bytes, Pairs]:
    told = as_rpc(error)
    return told.status, jsonrpc.failure(None, told.error), (JSON,)


def _as_problem(error: InterlockError) -> tuple[int, bytes, Pairs]:
    return error.status, problem.encode(problem.problem_of(error)), (_PROBLEM,)


def _retry_after(error: KeptOut) -> Pairs:
    return ((b"retry-after", str(error.fields["retry_after"]).encode()),) if isinstance(error, RateLimited) else ()
