"""One edge from top to bottom: its settings, its parts, its lifespan. The parts are put together in ``wiring/``."""

import asyncio
import socket

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.runtime import Service, running
from interlock_gateway.config import Settings
from interlock_gateway.server import GRACE_SECONDS, listen
from interlock_gateway.tls_front.front import TlsFront
from interlock_gateway.wiring.callers import callers_at
from interlock_gateway.wiring.endpoints import mcp_at
from interlock_gateway.wiring.ground import Ground
from interlock_gateway.wiring.listening import front_of, server_at
from interlock_gateway.wiring.management import management_at
from interlock_gateway.wiring.revoking import Revoking
from interlock_gateway.wiring.upstreams import upstreams_at


async def serve(settings: Settings) -> None:
    """Run an edge with ``settings``."""
    front = front_of(settings, SYSTEM_CLOCK)
    async with running(settings, "gateway", description="the edge: MCP and REST") as service:
        await Edge(settings, service, front).run()


class Edge:
    """One edge process, from its settings to its listener."""

    def __init__(self, settings: Settings, service: Service, front: TlsFront | None) -> None:
        self._service = service
        self._settings = settings
        self._ground = ground = Ground.of(settings, service)
        self._mirrors = ground.mirrors
        self._callers = callers_at(ground)
        self._to = upstreams_at(ground)
        self._revoking = Revoking(self._callers.live, self._to.resuming.holding)
        self._revoking.follow(ground.mirrors)
        self._mcp = mcp_at(ground, self._callers, self._to)
        rest = management_at(ground, self._callers, self._to)
        self._server = server_at(ground, self._callers, self._mcp, rest, front)
        self._serving: asyncio.Task[None] | None = None
        self._report_health()

    async def run(self) -> None:
        listener = listen(self._settings.host, self._settings.port)
        try:
            await self._service.run(
                on_connected=lambda: self._mirrors.fill(self._service.bus), on_ready=lambda: self._serve(listener)
            )
        finally:
            await self._finish()
            listener.close()

    def _report_health(self) -> None:
        health = self._service.health
        for mirror in self._mirrors.all():
            health.ready_when(f"mirror {mirror.bucket.name}", mirror.problem)
        health.ready_when("audit", self._service.audit.problem)
        health.ready_when("revocations", self._callers.lease.problem)
        health.ready_when("listener", lambda: None if self._server.started else "it does not listen yet")

    async def _serve(self, listener: socket.socket) -> None:
        """The bus is connected and every mirror complete: begin, and only then listen."""
        callers, to = self._callers, self._to
        await callers.confirming.start()
        callers.certificates.start(self._ground, self._revoking.end_revoked)
        await to.transports.start()
        await to.answering.start()
        await callers.gossip.start()
        await to.tunnels.start()
        await to.resuming.start()
        await to.notices.start(to.changes.notified)
        await self._mcp.traffic.start()
        self._service.background(callers.usage.run(), "usage of tokens")
        if self._server.front is not None:
            self._service.background(self._server.front.follow(), "certificate of the front end")
        self._serving = self._service.background(self._server.serve(sockets=[listener]), "http server")

    async def _finish(self) -> None:
        """Take no new requests, and let those that run come to their end."""
        callers, to, mcp = self._callers, self._to, self._mcp
        mcp.traffic.close()
        mcp.subscriptions.close()
        await to.tunnels.stop()
        await mcp.endpoints.ws.close()
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait([self._serving], timeout=GRACE_SECONDS + 1)
        await mcp.traffic.stop()
        await to.resuming.stop()
        await callers.gossip.stop()
        await callers.wanted.stop()
        await to.answering.stop()
        await to.listeners.stop()
        await to.notices.stop()
        await callers.confirming.stop()
        await callers.certificates.stop()
        await self._ground.subscribed.close()
        await to.transports.stop()
