"""The only wiring of the catalog."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.database import open_engine, transaction
from interlock_common.errors import ConfigurationError, Unavailable
from interlock_common.messages.access import MAX_PAYLOAD
from interlock_common.messages.resources import GRANTS
from interlock_common.runtime import Service, running
from interlock_common.sealing import Sealer
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.catalog.bus import BusOutlet, bind, ensure_buckets, follow_changes, published
from interlock_gateway.catalog.config import Settings
from interlock_gateway.catalog.grants import Grants
from interlock_gateway.catalog.keeping import Keeper
from interlock_gateway.catalog.listening import Listening
from interlock_gateway.catalog.looking import Looking, Pace
from interlock_gateway.catalog.noticing import Noticing
from interlock_gateway.catalog.outlet import Discover
from interlock_gateway.catalog.own_grants import OwnGrants
from interlock_gateway.catalog.pinning import Policy
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.reaching import Reaching
from interlock_gateway.catalog.refreshing import Refreshing
from interlock_gateway.catalog.registering import Registering
from interlock_gateway.catalog.servers import Servers
from interlock_gateway.catalog.store import Store
from interlock_gateway.catalog.upstreams import Upstreams
from interlock_gateway.upstreams.addresses import AddressPolicy, upstream_connector
from interlock_gateway.upstreams.assembly import Transports
from interlock_gateway.upstreams.connections import Bounds
from interlock_gateway.upstreams.oauth.grants import Vault
from interlock_gateway.upstreams.oauth.user_tokens import UserTokens
from interlock_gateway.upstreams.tls import TlsContexts

_RETRY_SECONDS = 0.5
_SESSION_SECONDS = 3600.0


class Catalog:
    """The parts of the catalog, wired to one service process."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        engine: AsyncEngine,
        transports: Transports,
        discover: Discover,
        subscriptions: Subscriptions,
    ) -> None:
        self._service = service
        self._engine = engine
        self._filled = False
        self._subscriptions = subscriptions
        self._transports = transports
        clock = service.clock
        outlet = BusOutlet(service.bus, service.audit, clock)
        self._grants = Grants(engine, outlet, clock)
        transports.for_users(_users(settings, service, transports, self._grants))
        self._publisher = Publisher(engine, outlet)
        policy = Policy(settings.definition_widened, settings.definition_described, settings.definition_new)
        looking = Looking(engine, outlet, self._publisher, discover, clock, policy, Pace(settings.refresh_interval))
        registering = Registering(
            engine, outlet, self._publisher, looking, Keeper(_sealer(settings)), clock,
            patience=settings.discovery_timeout,
        )  # fmt: skip
        self._refreshing = Refreshing(engine, looking, self._publisher, clock, concurrency=settings.refresh_concurrency)
        self._noticing = Noticing(looking, clock, concurrency=settings.refresh_concurrency)
        self._listening = Listening(engine, transports.by_kind, self._noticing, clock, limit=settings.listen_limit)
        self._publisher.on_published(self._listening.reconsider)
        upstreams = Upstreams(engine, outlet, self._publisher, registering, self._grants)
        bind(service.bus, upstreams, Servers(engine, outlet, self._publisher), self._grants)
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
        await self._transports.start()
        while True:
            try:
                await ensure_buckets(self._service.bus)
                await self._publisher.reconcile(await published(self._service.bus))
                await self._grants.reconcile(await published(self._service.bus, GRANTS))
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
async def reaching(settings: Settings, transports: Transports, policy: AddressPolicy) -> AsyncGenerator[Discover]:
    """What finds out about upstreams, with the guard over their addresses that the settings ask for."""
    jar = aiohttp.DummyCookieJar()  # upstreams share the session, and nothing else
    connector = upstream_connector(allow_private=policy.allow_private, policy=policy)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        yield Reaching(
            session, policy, TlsContexts(SYSTEM_CLOCK), transports.credentials, transports.by_kind,
            settings.discovery_timeout,
        )  # fmt: skip


def _users(settings: Settings, service: Service, transports: Transports, grants: Grants) -> UserTokens:
    vault = Vault(_sealer(settings) or Sealer(os.urandom(32)))
    own = OwnGrants(grants, service.clock)
    return UserTokens(own, vault, transports.endpoints, service.clock, holder=service.bus.instance)


def _sealer(settings: Settings) -> Sealer | None:
    secret = settings.auth_encryption_secret
    return None if secret is None else Sealer(secret.get_secret_value().encode())


async def serve(settings: Settings) -> None:
    """Run the catalog with ``settings``."""
    policy = AddressPolicy.of(allow_private=settings.allow_private_upstreams, allowed=settings.allow_upstream_networks)
    async with running(settings, "catalog", description="what can be reached") as service:
        engine = open_engine(settings.database_url, service.identity)
        subscriptions = Subscriptions(service.bus)
        transports = Transports(
            service.bus, subscriptions,
            _sealer(settings) or Sealer(os.urandom(32)),  # without the setting nothing was sealed that could be opened
            service.clock, bounds=Bounds(max_answer=MAX_PAYLOAD), policy=policy, session_lifetime=_SESSION_SECONDS,
        )  # fmt: skip
        try:
            async with reaching(settings, transports, policy) as discover:
                await Catalog(settings, service, engine, transports, discover, subscriptions).run()
        finally:
            await transports.stop()
            await engine.dispose()
