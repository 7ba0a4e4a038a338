"""Several edges of one deployment, for tests: each with a connection and a mirror of its own to one real bus."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages import resources
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import Session
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import EmbeddedBus
from interlock_common.testing.waiting import until
from interlock_gateway.sessions.registry import Sessions
from interlock_gateway.testing.asking import Answer, ask
from interlock_gateway.testing.callers import ADA, Signer
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import result_of, upstream_at

_SIGNER = Signer()
LIST = b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}'


def initialize_body(version: str = "2025-11-25", **capabilities: Any) -> bytes:
    params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "c"}}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})


def call_body(request_id: Any = 7, tool: str = "notes-echo", **arguments: Any) -> bytes:
    """A tool call of the handshake era, whose client wants to hear of its progress."""
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params})


@dataclass(frozen=True)
class Event:
    """A server-sent event as a client reads it."""

    id: str
    data: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.data)


def events_of(body: bytes) -> list[Event]:
    """The whole events of a stream, in their order; comments left out."""
    events: list[Event] = []
    for block in body.split(b"\n\n")[:-1]:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
        if fields:
            events.append(Event(fields.get(b"id", b"").decode(), fields.get(b"data", b"")))
    return events


@dataclass
class Opened:
    """An HTTP exchange under way."""

    answer: Answer
    task: asyncio.Task[Answer]

    @property
    def events(self) -> list[Event]:
        return events_of(self.answer.body)

    @property
    def said(self) -> list[Event]:
        """Without the event that only begins the stream."""
        return [event for event in self.events if event.data]

    async def until_said(self, count: int) -> list[Event]:
        await until(lambda: len(self.said) >= count)
        return self.said

    async def ended(self) -> Answer:
        return await asyncio.wait_for(self.task, 10)


@dataclass
class Edge:
    """One edge of the deployment."""

    world: EdgeWorld
    mirror: Mirror[Session]
    bus: Bus
    opened: list[Opened] = field(default_factory=list[Opened])

    async def ask(
        self, body: bytes = LIST, session: str = "", principal: str = ADA, method: str = "POST",
        server_id: str | None = None, answer: Answer | None = None, last: str = "",
    ) -> Answer:  # fmt: skip
        headers = {"accept": "application/json, text/event-stream"}
        headers |= {"mcp-session-id": session} if session else {}
        headers |= {"last-event-id": last} if last else {}
        token = self.world.signer.token(principal)
        return await ask(
            self.world.endpoint(), body, headers, token=token, method=method, server_id=server_id, answer=answer
        )

    def open(self, body: bytes = b"", session: str = "", **more: Any) -> Opened:
        """Begin an exchange: a POST of ``body``, or a GET without one."""
        answer = Answer()
        work = self.ask(body, session, method="POST" if body else "GET", answer=answer, **more)
        opened = Opened(answer, asyncio.create_task(work))
        self.opened.append(opened)
        return opened

    async def stream(self, session: str, last: str = "") -> Opened:
        """The GET stream of a session, open."""
        opened = self.open(b"", session, last=last)
        await until(lambda: b": open" in opened.answer.body or opened.task.done())
        return opened

    async def initialize(self, version: str = "2025-11-25", **capabilities: Any) -> str:
        answer = await self.ask(initialize_body(version, **capabilities))
        return answer.headers["mcp-session-id"]

    async def stop(self) -> None:
        """As an edge ends that is asked to."""
        await self.world.traffic.stop()
        for opened in self.opened:
            opened.task.cancel()
        await asyncio.gather(*(opened.task for opened in self.opened), return_exceptions=True)
        await self.world.ways.stop()
        await self.mirror.stop()
        await self.bus.stop()

    async def kill(self) -> None:
        """As far as others can see: from one moment on it says and hears nothing."""
        await self.bus.nc.close()


@asynccontextmanager
async def edge_at(embedded_bus: EmbeddedBus) -> AsyncGenerator[Edge]:
    """A running edge."""
    bus = embedded_bus.bus("gateway")
    await bus.start()
    await kv.ensure_stream(bus, resources.SESSION_MESSAGES)
    for bucket in (resources.SESSIONS, resources.UPSTREAM_SESSIONS):
        await kv.ensure_bucket(bus, bucket)
    mirror = Mirror(bus, resources.SESSIONS, Session)
    world = EdgeWorld(_SIGNER, bus=bus, sessions=Sessions(bus, mirror, SYSTEM_CLOCK, lifetime=3600))
    mirror.on_change(world.traffic.session_changed)
    await mirror.start()
    await mirror.wait_complete()
    await world.traffic.start()
    edge = Edge(world, mirror, bus)
    try:
        yield edge
    finally:
        await edge.stop()


@dataclass
class Conversing:
    """An upstream of the handshake era whose calls say what a test has them say.

    ``say`` is read by the call that runs; what is no bytes ends it. ``heard`` is what came besides calls.
    """

    say: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue[bytes | None])
    heard: list[Any] = field(default_factory=list[Any])
    calls: list[Any] = field(default_factory=list[Any])
    left: int = 0
    ended: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            self.ended += 1
            return web.Response(status=200)
        if request.method != "POST":
            return web.Response(status=405)
        message = msgspec.json.decode(await request.read())
        if message.get("method") == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "u"},
            }
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            return web.json_response(answer, headers={"Mcp-Session-Id": "at-upstream"})
        if message.get("method") == "tools/call":
            return await self._call(request, message)
        self.heard.append(message)
        return web.Response(status=202)

    def progress(self, number: int) -> None:
        params = {"progressToken": "p", "progress": number}
        self.say.put_nowait(
            msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        )

    def ask(self, method: str, **params: Any) -> None:
        self.say.put_nowait(msgspec.json.encode({"jsonrpc": "2.0", "id": "asked", "method": method, "params": params}))

    def answer(self) -> None:
        self.say.put_nowait(None)

    async def _call(self, request: web.Request, message: Any) -> web.StreamResponse:
        self.calls.append(message)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while (said := await self.say.get()) is not None:
                await response.write(b"data: " + said + b"\n\n")
            await response.write(b"data: " + result_of(message["id"]) + b"\n\n")
        except (asyncio.CancelledError, ConnectionError):
            self.left += 1
            raise
        return response


def conversing_at(url: str) -> Upstream:
    return upstream_at(url, era="legacy", protocol_version="2025-11-25")
