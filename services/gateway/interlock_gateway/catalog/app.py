"""The only wiring of the catalog."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import open_engine, transaction
from interlock_common.errors import ConfigurationError, Unavailable
from interlock_common.messages.catalog import Era
from interlock_common.runtime import Service, running
from interlock_gateway.catalog.bus import BusOutlet, bind, ensure_bucket, published_keys
from interlock_gateway.catalog.config import Settings
from interlock_gateway.catalog.outlet import Discover
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.refreshing import Refreshing
from interlock_gateway.catalog.servers import Servers
from interlock_gateway.catalog.store import Store
from interlock_gateway.catalog.upstreams import Upstreams
from interlock_gateway.upstreams.addresses import upstream_connector
from interlock_gateway.upstreams.discovery import Discovered, discover

_RETRY_SECONDS = 0.5


class Catalog:
    """The parts of the catalog, wired to one service process."""

    def __init__(self, settings: Settings, service: Service, engine: AsyncEngine, find: Discover) -> None:
        self._service = service
        self._engine = engine
        self._filled = False
        outlet = BusOutlet(service.bus, service.audit, service.clock)
        self._publisher = Publisher(engine, outlet)
        upstreams = Upstreams(engine, outlet, self._publisher, find, service.clock)
        self._refreshing = Refreshing(
            engine, upstreams, self._publisher, service.clock,
            interval=settings.refresh_interval, concurrency=settings.refresh_concurrency,
        )  # fmt: skip
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
        await self._service.run(on_connected=self._fill)

    async def _fill(self) -> None:
        """Bring the bucket to the database, trying until JetStream takes it: it may come up after the bus."""
        while True:
            try:
                await ensure_bucket(self._service.bus)
                await self._publisher.reconcile(await published_keys(self._service.bus))
                break
            except Unavailable:
                await self._service.clock.sleep(_RETRY_SECONDS)
        self._filled = True
        self._service.background(self._refreshing.run(), "refreshing")

    def _problem(self) -> str | None:
        if not self._filled:
            return "the bucket is not filled yet"
        return f"{len(self._publisher.owed)} keys wait to be published" if self._publisher.owed else None


@asynccontextmanager
async def discovering(settings: Settings) -> AsyncGenerator[Discover]:
    """The way to upstreams, with the guard over their addresses that the settings ask for."""
    private = settings.allow_private_upstreams
    connector = upstream_connector(allow_private=private)
    jar = aiohttp.DummyCookieJar()  # upstreams share the session, and nothing else
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:

        async def find(url: str, era: Era | None) -> Discovered:
            timeout = settings.discovery_timeout
            return await discover(session, url, timeout=timeout, allow_private=private, era=era)

        yield find


async def serve(settings: Settings) -> None:
    """Run the catalog with ``settings``."""
    async with running(settings, "catalog", description="what can be reached") as service:
        engine = open_engine(settings.database_url)
        try:
            async with discovering(settings) as find:
                await Catalog(settings, service, engine, find).run()
        finally:
            await engine.dispose()
