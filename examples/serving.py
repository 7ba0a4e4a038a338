"""What both example servers share: the command line, the era they speak, and their trace export.

The SDK serves both eras on one address. ``--legacy`` and ``--modern`` narrow that, so that each combination
of a client's and an upstream's era can be tried.
"""

import argparse
import json
import os
from typing import TYPE_CHECKING

import uvicorn
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from starlette.types import ASGIApp, Receive, Scope, Send


def serve(server: "MCPServer", *, port: int) -> None:
    """Run ``server`` over streamable HTTP at ``/mcp`` as the command line says."""
    parser = argparse.ArgumentParser(description=server.instructions)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=port)
    era = parser.add_mutually_exclusive_group()
    era.add_argument("--legacy", action="store_true", help="only revisions with initialize and sessions")
    era.add_argument("--modern", action="store_true", help="only the stateless revision 2026-07-28")
    arguments = parser.parse_args()

    _export_traces(server.name)
    app: ASGIApp = ParentFromHeaders(server.streamable_http_app(host=arguments.host))
    if arguments.legacy:
        app = OnlyLegacy(app)
    if arguments.modern:
        app = OnlyModern(app)
    print(f"{server.name}: http://{arguments.host}:{arguments.port}/mcp", flush=True)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=2)


def _export_traces(name: str) -> None:
    """Send spans where the standard OTLP variables say; without them the SDK's spans cost nothing."""
    if not {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} & os.environ.keys():
        return
    service = os.environ.get("OTEL_SERVICE_NAME", name)
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=200))
    trace.set_tracer_provider(provider)


class ParentFromHeaders:
    """Makes the ``traceparent`` header the parent of what follows.

    The SDK takes its parent from ``_meta`` of the message (SEP-414) and falls back to the span of the moment:
    so a caller that only sends the header is continued too.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        token = context.attach(propagate.extract(headers))
        try:
            await self.app(scope, receive, send)
        finally:
            context.detach(token)


class OnlyLegacy:
    """Answers a modern request as a server does that was written before there was one."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        version = _protocol_version(scope)
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            await self.app(scope, receive, send)
            return
        message = f"Bad Request: Unsupported protocol version: {version}"
        await _refuse(send, {"code": -32600, "message": message})


class OnlyModern:
    """Answers a request of the handshake era as the stateless revision asks for."""

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        version = _protocol_version(scope)
        legacy = scope["type"] == "http" and (version is None or version in HANDSHAKE_PROTOCOL_VERSIONS)
        if not legacy:
            await self.app(scope, receive, send)
            return
        data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": version or "2025-03-26"}
        await _refuse(send, {"code": -32022, "message": "Unsupported protocol version", "data": data})


def _protocol_version(scope: "Scope") -> str | None:
    values = (v for n, v in scope.get("headers", ()) if n == b"mcp-protocol-version")
    value = next(values, None)
    return None if value is None else value.decode("latin-1")


async def _refuse(send: "Send", error: dict[str, object]) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
