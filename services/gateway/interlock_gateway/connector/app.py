"""The only wiring of the connector."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.errors import NotFound, Unavailable
from interlock_common.messages import resources, subjects
from interlock_common.messages.catalog import CatalogItem, Upstream, VirtualServer, upstream_key
from interlock_common.messages.gateway import END_SESSION, NOTIFY, ConnectorLease
from interlock_common.mirror import Mirror
from interlock_common.runtime import Service, running
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscribed, Subscriptions
from interlock_gateway.connector.commands import Commands
from interlock_gateway.connector.config import Settings
from interlock_gateway.connector.leases import Leases
from interlock_gateway.connector.processes import Bounds, Processes
from interlock_gateway.connector.warden import Warden
from interlock_gateway.exchanges.answers import Said, answering, parsed
from interlock_gateway.exchanges.server import Asked, ExchangeServer
from interlock_gateway.upstreams.transport import Exchange

_RETRY_SECONDS = 0.5
_QUEUE = "connector"


class Connector:
    """The parts of a connector, wired to one service process."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self._service = service
        bus, secret = service.bus, settings.auth_encryption_secret
        self._catalog: Mirror[CatalogItem] = Mirror(bus, resources.CATALOG, Upstream | VirtualServer)
        self._lease_mirror = Mirror(bus, resources.CONNECTORS, ConnectorLease)
        self._subscriptions = Subscriptions(bus)
        self._exchanges = ExchangeServer(bus, self._subscriptions, concurrency=settings.max_exchanges)
        self._warden = Warden(service.clock)
        sealer = Sealer(secret.get_secret_value().encode()) if secret else None
        self._processes = Processes(
            Commands(settings.allowed_commands, sealer, max_line=settings.max_message_bytes),
            self._warden, self._changed,
            Bounds(settings.max_processes, settings.probe_timeout, settings.start_timeout),
            clock=service.clock,
        )  # fmt: skip
        self._leases = Leases(bus, self._lease_mirror, self._wanted, self._gained, self._lost, clock=service.clock)
        self._listening: dict[str, Subscribed] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._catalog.on_change(self._registered)
        for mirror in (self._catalog, self._lease_mirror):
            service.health.ready_when(f"mirror {mirror.bucket.name}", mirror.problem)

    async def run(self) -> None:
        try:
            await self._service.run(on_connected=self._begin)
        finally:
            await self._end()

    async def _begin(self) -> None:
        while True:
            try:
                await kv.ensure_bucket(self._service.bus, resources.CONNECTORS)
                break
            except (NatsError, JetStreamError):  # JetStream may come up after the bus
                await self._service.clock.sleep(_RETRY_SECONDS)
        for mirror in (self._catalog, self._lease_mirror):
            await mirror.start()
            await mirror.wait_complete(timeout=None)
        await self._exchanges.start()
        self._service.background(self._leases.run(), "leases")
        self._service.background(self._processes.run(), "idle processes")
        self._service.background(self._warden.run(), "limits of processes")

    async def _end(self) -> None:
        """Let others take over, then end every process."""
        await self._leases.close()
        await self._exchanges.stop()
        await self._processes.close()
        await self._catalog.stop()
        await self._lease_mirror.stop()

    def _wanted(self) -> list[str]:
        return [
            item.id
            for item in self._catalog.items.values()
            if isinstance(item, Upstream) and item.transport == "stdio" and item.command is not None
        ]

    def _registered(self, key: str, item: CatalogItem | None) -> None:
        """An upstream came, went, or has another command."""
        if key.startswith(upstream_key("")):
            command = item.command if isinstance(item, Upstream) else None
            self._processes.drop(key.removeprefix(upstream_key("")), command)
            self._leases.look()

    async def _gained(self, upstream_id: str) -> None:
        self._listening[upstream_id] = await self._subscriptions.add(
            subjects.connector(upstream_id),
            lambda message: self._exchanges.take(message, partial(self._open, upstream_id)),
            queue=_QUEUE,
        )

    async def _lost(self, upstream_id: str) -> None:
        if (listening := self._listening.pop(upstream_id, None)) is not None:
            await self._subscriptions.remove(listening)
        self._processes.drop(upstream_id)

    @asynccontextmanager
    async def _open(self, upstream_id: str, asked: Asked) -> AsyncGenerator[Exchange]:
        upstream = self._catalog.get(upstream_key(upstream_id))
        if not isinstance(upstream, Upstream) or upstream.command is None:
            raise NotFound("no such upstream")
        request = parsed(asked.payload)
        if request.method == END_SESSION:
            self._processes.end_session(upstream, asked.session_key)
            yield Said(request)
            return
        if request.method == NOTIFY:
            await self._processes.notify(upstream, asked, bytes(request.params))
            yield Said(request)
            return
        async with (
            self._processes.use(upstream, asked) as conversation,
            answering(conversation, asked.payload) as exchange,
        ):
            yield exchange

    def _changed(self, upstream_id: str, message: bytes) -> None:
        """Tell everyone what a server said that belongs to no request."""

        async def tell() -> None:
            try:
                async with self._service.bus.lease() as client:
                    await client.publish(subjects.changed(upstream_id), message)
            except (NatsError, Unavailable):
                return  # whoever missed it looks again by its timer

        task = asyncio.create_task(tell(), name="tell a change")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


async def serve(settings: Settings) -> None:
    """Run a connector with ``settings``."""
    async with running(settings, "connector", description="servers over standard input and output") as service:
        await Connector(settings, service).run()
