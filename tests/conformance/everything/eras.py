"""What a server of only one era says to a client of the other: the door in front of the SDK, which speaks both."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

from mcp_types import HEADER_MISMATCH, INVALID_REQUEST, UNSUPPORTED_PROTOCOL_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from everything.event_store import SESSION, SessionName
from everything.world import World

_BAD_REQUEST, _NOT_ALLOWED = 400, 405


class Era(StrEnum):
    """Which revisions a server speaks."""

    MODERN = "modern"
    LEGACY = "legacy"
    BOTH = "both"


class Door:
    """ASGI middleware: turns away what a server of this era would, and knows which session a request belongs to."""

    def __init__(self, app: ASGIApp, era: Era, world: World) -> None:
        self._app = app
        self._era = era
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        version = request.headers.get("mcp-protocol-version")
        if self._era is Era.LEGACY and version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            await _unsupported_by_old(version)(scope, receive, send)
        elif self._era is Era.MODERN and (version is None or version in HANDSHAKE_PROTOCOL_VERSIONS):
            await (await _refused_by_new(request, version))(scope, receive, send)
        else:
            await self._pass(request, send)

    async def _pass(self, request: Request, send: Send) -> None:
        session = SessionName(request.headers.get("mcp-session-id", ""))
        SESSION.set(session)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = dict(cast("list[tuple[bytes, bytes]]", message.get("headers", [])))
                session.name = session.name or headers.get(b"mcp-session-id", b"").decode("ascii")
            await send(message)

        await self._app(request.scope, request.receive, sending)
        if request.method == "DELETE":
            self._world.closed(session.name)


def _error(
    status: int, code: int, message: str, *, answers: object = None, data: Mapping[str, Any] | None = None
) -> Response:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return JSONResponse({"jsonrpc": "2.0", "id": answers, "error": error}, status)


def _unsupported_by_old(version: str) -> Response:
    """As servers answered a version header they did not know before 2026-07-28: 400, and no code that says modern."""
    known = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
    message = f"Bad Request: Unsupported protocol version: {version}. Supported versions: {known}"
    return _error(_BAD_REQUEST, INVALID_REQUEST, message, answers="server-error")


async def _refused_by_new(request: Request, version: str | None) -> Response:
    """A server that speaks no revision with a handshake names those it speaks."""
    if request.method != "POST":
        return Response(status_code=_NOT_ALLOWED, headers={"Allow": "POST"})
    try:
        body: Any = json.loads(await request.body())
    except ValueError:
        body = {}
    message = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    answers = message.get("id")
    if version is None and message.get("method") != "initialize":
        return _error(_BAD_REQUEST, HEADER_MISMATCH, "the header MCP-Protocol-Version is missing", answers=answers)
    requested = version or message.get("params", {}).get("protocolVersion", "")
    data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": requested}
    return _error(
        _BAD_REQUEST, UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", answers=answers, data=data
    )
