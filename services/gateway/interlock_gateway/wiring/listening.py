"""What stands between the network and the endpoints: the HTTP server, and the guard before every path."""

from typing import Any

from interlock_gateway.endpoints.requests import Scope
from interlock_gateway.guard.front import Guard, KeptOut
from interlock_gateway.recording import Recorder
from interlock_gateway.server import EdgeServer, Router, make_server
from interlock_gateway.tls_front.front import Source, TlsFront
from interlock_gateway.wiring.callers import Callers
from interlock_gateway.wiring.endpoints import McpSide
from interlock_gateway.wiring.ground import Ground


def server_at(ground: Ground, callers: Callers, mcp: McpSide, rest: Any) -> EdgeServer:
    """The HTTP server of everything that clients reach."""
    settings = ground.settings
    router = Router(mcp.endpoints, rest, mcp.sockets)

    def kept_out(error: KeptOut, scope: Scope) -> None:
        _record(mcp.recorder, error, scope)

    source = Source.of(settings, ground.clock)
    return make_server(
        Guard(router, callers.limits, settings.proxies, settings.cors, settings.security_headers, kept_out),
        TlsFront(source, ground.clock) if source is not None else None,
    )


def _record(recorder: Recorder, error: KeptOut, scope: Scope) -> None:
    client = scope["client"]
    if error.noted:
        recorder.refusal(
            error.code, status=error.status, method=scope.get("method", "websocket"), target=scope["path"],
            caller=None, peer=f"{client[0]}:{client[1]}" if client else "",
        )  # fmt: skip
