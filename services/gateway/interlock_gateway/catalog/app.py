"""The only wiring of the catalog."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import open_engine, transaction
from interlock_common.errors import ConfigurationError, Unavailable
from interlock_common.messages.access import MAX_PAYLOAD
from interlock_common.messages.catalog import Kind
from interlock_common.runtime import Service, running
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.catalog.bus import BusOutlet, bind, ensure_bucket, follow_changes, published
from interlock_gateway.catalog.config import Settings
from interlock_gateway.catalog.keeping import Keeper
from interlock_gateway.catalog.listening import Listening
from interlock_gateway.catalog.looking import Looking, Pace
from interlock_gateway.catalog.noticing import Noticing
from interlock_gateway.catalog.outlet import Discover
from interlock_gateway.catalog.pinning import Policy
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.reaching import Reaching
from interlock_gateway.catalog.refreshing import Refreshing
from interlock_gateway.catalog.registering import Registering
from interlock_gateway.catalog.servers import Servers
from interlock_gateway.catalog.store import Store
from interlock_gateway.catalog.upstreams import Upstreams
from interlock_gateway.exchange_client import ExchangeClient
from interlock_gateway.upstreams.addresses import AddressPolicy, upstream_connector
from interlock_gateway.upstreams.bus import BusTransport
from interlock_gateway.upstreams.connections import Bounds, Ways
from interlock_gateway.upstreams.credentials import BasicProvider, Credentials, HeaderProvider, Provider, SealedSecrets
from interlock_gateway.upstreams.exchange import MAX_ANSWER_BYTES
from interlock_gateway.upstreams.http import HttpTransport
from interlock_gateway.upstreams.sessions import MemorySessions
from interlock_gateway.upstreams.tls import TlsContexts
from interlock_gateway.upstreams.transport import Transport

_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Reach:
    """The ways to upstreams: to find out about them, and to listen to them."""

    discover: Discover
    transports: Mapping[Kind, Transport]
    exchanges: ExchangeClient


class Catalog:
    """The parts of the catalog, wired to one service process."""

    def __init__(
        self, settings: Settings, service: Service, engine: AsyncEngine, reach: Reach, subscriptions: Subscriptions
    ) -> None:
        self._service = service
        self._engine = engine
        self._filled = False
        self._subscriptions = subscriptions
        self._exchanges = reach.exchanges
        clock = service.clock
        outlet = BusOutlet(service.bus, service.audit, clock)
        self._publisher = Publisher(engine, outlet)
        policy = Policy(settings.definition_widened, settings.definition_described, settings.definition_new)
        looking = Looking(
            engine, outlet, self._publisher, reach.discover, clock, policy, Pace(settings.refresh_interval)
        )
        registering = Registering(
            engine, outlet, self._publisher, looking, Keeper(_sealer(settings)), clock,
            patience=settings.discovery_timeout,
        )  # fmt: skip
        self._refreshing = Refreshing(engine, looking, self._publisher, clock, concurrency=settings.refresh_concurrency)
        self._noticing = Noticing(looking, clock, concurrency=settings.refresh_concurrency)
        self._listening = Listening(engine, reach.transports, self._noticing, clock, limit=settings.listen_limit)
        self._publisher.on_published(self._listening.reconsider)
        upstreams = Upstreams(engine, outlet, self._publisher, registering)
        bind(service.bus, upstreams, Servers(engine, outlet, self._publisher))
        service.health.ready_when("bucket", self._problem)

    async def run(self) -> None:
        """Serve until the process is told to end; a database that is not usable ends it first."""
        try:
            async with transaction(self._engine) as session:
                await Store(session).ping()
        except (SQLAlchemyError, OSError) as error:
            raise ConfigurationError(
                f"DATABASE_URL: the database of the catalog cannot be used ({type(error).__name__}); "
                "is it there, and has `python -m interlock_gateway.catalog migrate` been run"
            ) from None
        try:
            await self._service.run(on_connected=self._fill)
        finally:
            await self._subscriptions.close()
            await self._noticing.stop()

    async def _fill(self) -> None:
        """Bring the bucket to the database, trying until JetStream takes it: it may come up after the bus."""
        await self._exchanges.start()
        while True:
            try:
                await ensure_bucket(self._service.bus)
                await self._publisher.reconcile(await published(self._service.bus))
                break
            except Unavailable:
                await self._service.clock.sleep(_RETRY_SECONDS)
        self._filled = True
        await follow_changes(self._service.bus, self._subscriptions, self._noticing)
        self._service.background(self._refreshing.run(), "refreshing")
        self._service.background(self._listening.run(), "listening")

    def _problem(self) -> str | None:
        if not self._filled:
            return "the bucket is not filled yet"
        return f"{len(self._publisher.owed)} keys wait to be published" if self._publisher.owed else None


@asynccontextmanager
async def reaching(settings: Settings, clock: Clock, exchanges: ExchangeClient) -> AsyncGenerator[Reach]:
    """The ways to upstreams, with the guard over their addresses that the settings ask for."""
    policy = AddressPolicy.of(allow_private=settings.allow_private_upstreams, allowed=settings.allow_upstream_networks)
    tls = TlsContexts(clock)
    credentials = Credentials(_providers(settings))
    ways = Ways(Bounds(max_answer=MAX_ANSWER_BYTES), policy, clock=clock, tls=tls)
    over_bus = BusTransport(exchanges)
    transports: dict[Kind, Transport] = {
        "http": HttpTransport(ways, MemorySessions(), credentials),
        "stdio": over_bus, "reverse": over_bus, "worker": over_bus,
    }  # fmt: skip
    jar = aiohttp.DummyCookieJar()  # upstreams share the session, and nothing else
    connector = upstream_connector(allow_private=policy.allow_private, policy=policy)
    try:
        async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
            find = Reaching(session, policy, tls, credentials, transports, settings.discovery_timeout)
            yield Reach(find, transports, exchanges)
    finally:
        await ways.stop()


def _sealer(settings: Settings) -> Sealer | None:
    secret = settings.auth_encryption_secret
    return None if secret is None else Sealer(secret.get_secret_value().encode())


def _providers(settings: Settings) -> dict[str, Provider]:
    sealer = _sealer(settings)
    if sealer is None:
        return {}
    secrets = SealedSecrets(sealer)
    return {"header": HeaderProvider(secrets), "basic": BasicProvider(secrets)}


async def serve(settings: Settings) -> None:
    """Run the catalog with ``settings``."""
    async with running(settings, "catalog", description="what can be reached") as service:
        engine = open_engine(settings.database_url)
        subscriptions = Subscriptions(service.bus)
        exchanges = ExchangeClient(service.bus, subscriptions, max_answer=MAX_PAYLOAD)
        try:
            async with reaching(settings, service.clock, exchanges) as reach:
                await Catalog(settings, service, engine, reach, subscriptions).run()
        finally:
            await engine.dispose()
