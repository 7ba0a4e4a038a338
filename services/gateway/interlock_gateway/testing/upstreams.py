"""Upstreams for tests: real HTTP servers with scripted manners, and what is needed to talk to them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from interlock_gateway.testing.servers import result_of, upstream_at
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.connections import Bounds, Ways
from interlock_gateway.upstreams.credentials import Credentials, Provider
from interlock_gateway.upstreams.http.transport import HttpTransport
from interlock_gateway.upstreams.sessions import MemorySessions, UpstreamSessions
from interlock_gateway.upstreams.transport import Transport, UpstreamRequest

PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress"}'
LEGACY: dict[str, Any] = {"era": "legacy", "protocol_version": "2025-11-25"}


def request_to(url: str, session_key: str = "ada", *, capabilities: bytes = b"{}", **changes: Any) -> UpstreamRequest:
    """A ``tools/call`` of echo for ada, to an upstream called notes."""
    upstream = upstream_at(url, **changes)
    return UpstreamRequest(upstream, "tools/call", "echo", b'{"name":"echo"}', "ada", session_key, capabilities)


def ways_within(policy: AddressPolicy | None = None, **bounds: Any) -> Ways:
    """Ways in tight bounds, to any address unless there is a policy."""
    tight: dict[str, Any] = {"concurrency": 8, "idle_timeout": 5.0, "call_timeout": 10.0, "max_answer": 64 * 1024}
    return Ways(Bounds(**tight | bounds), policy or AddressPolicy(allow_private=True))


def http_over(ways: Ways, sessions: UpstreamSessions | None = None, **providers: Provider) -> HttpTransport:
    return HttpTransport(ways, sessions or MemorySessions(), Credentials(providers))


async def all_of(transport: Transport, request: UpstreamRequest) -> list[bytes]:
    """Every message of one exchange."""
    async with transport.open(request) as exchange:
        return [message async for message in exchange]


async def begin_stream(request: web.Request, **headers: str) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", **headers})
    await stream.prepare(request)
    return stream


def event(data: bytes, event_id: str = "") -> bytes:
    return (f"id: {event_id}\n".encode() if event_id else b"") + b"data: " + data + b"\n\n"


class LegacyServer:
    """An upstream of the handshake era; ``on_call`` answers its calls, a result by default.

    ``live`` are its sessions, ``notes`` the notifications and answers it got, ``begun`` the initialize parameters.
    """

    def __init__(self, on_call: Callable[[web.Request, Any], Awaitable[web.StreamResponse]] | None = None) -> None:
        self.live: set[str] = set()
        self.begun: list[dict[str, Any]] = []
        self.called_with: list[str] = []
        self.notes: list[dict[str, Any]] = []
        self.noted = asyncio.Event()
        self.deleted: list[str] = []
        self.on_call = on_call
        self.on_get: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.always_lost = False

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        session = request.headers.get("Mcp-Session-Id", "")
        if request.method != "POST":
            return await self._without_message(request, session)
        message = json.loads(await request.read())
        if message.get("method") == "initialize":
            return self._initialize(message)
        if session not in self.live or (self.always_lost and "id" in message):
            return web.Response(status=404, text="no such session")
        if "method" not in message or "id" not in message:
            self.notes.append(message)
            self.noted.set()
            return web.Response(status=202)
        self.called_with.append(session)
        if self.on_call is not None:
            return await self.on_call(request, message)
        return web.Response(body=result_of(message["id"]), content_type="application/json")

    async def _without_message(self, request: web.Request, session: str) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(status=405) if self.on_get is None else await self.on_get(request)
        self.deleted.append(session)
        self.live.discard(session)
        return web.Response()

    def _initialize(self, message: Any) -> web.Response:
        self.begun.append(message["params"])
        session = f"s{len(self.begun)}"
        self.live.add(session)
        return web.Response(
            body=result_of(message["id"], b'{"protocolVersion":"2025-06-18","capabilities":{}}'),
            content_type="application/json",
            headers={"Mcp-Session-Id": session},
        )
