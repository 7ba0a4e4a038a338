"""The only wiring of certs."""

from datetime import timedelta
from pathlib import Path

import structlog
from nats.errors import Error as NatsError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.api import create_app
from interlock_certs.authority import Authority, Lifetimes
from interlock_certs.bus import BusAnnouncer, bind, publish_trust
from interlock_certs.bus_identity import reload_bus
from interlock_certs.config import Settings
from interlock_certs.issuing import BUS, Issuing
from interlock_certs.joining import JoinDrops
from interlock_certs.listener import Listener, listen
from interlock_certs.own import OwnIdentity
from interlock_common.database import open_engine
from interlock_common.enrolment import Renewer
from interlock_common.errors import InterlockError
from interlock_common.identity import Identity
from interlock_common.messages.access import BUS_ADMIN
from interlock_common.runtime import Service, running

_log = structlog.get_logger()
_CERTS = "certs"
_ADMIN_LIFETIME = timedelta(minutes=10)
"""The administrator of the bus exists only while it is needed: a new leaf for each occasion."""


class Certs:
    """The parts of certs, wired to one process."""

    def __init__(self, settings: Settings, service: Service, engine: AsyncEngine) -> None:
        self._settings = settings
        self._service = service
        clock = service.clock
        lifetimes = Lifetimes(timedelta(seconds=settings.root_lifetime), timedelta(seconds=settings.issuing_lifetime))
        self._authority = Authority.open(settings.ca_dir, settings.trust_domain, lifetimes, clock)
        self._drops = JoinDrops(engine, settings.join_drop_dir, settings.joining, settings.join_token_lifetime, clock)
        lifetime = timedelta(seconds=settings.leaf_lifetime)
        announcer = BusAnnouncer(service.bus, service.audit, clock)
        self._issuing = Issuing(self._authority, self._drops, engine, announcer, lifetime, clock)
        bind(service.bus, self._issuing)
        directory, bus_lifetime = settings.identity_dir, timedelta(seconds=settings.bus_leaf_lifetime)
        # The listener needs host names, and a leaf for the bus must have none: the bus would map them to users.
        self._on_bus = self._own(_CERTS, directory, lifetime)
        self._front = self._own(_CERTS, directory / "listener", lifetime, settings.enrolment_names)
        self._admin = self._own(BUS_ADMIN, directory / "bus-admin", _ADMIN_LIFETIME)
        self._bus = self._own(BUS, settings.bus_identity_dir, bus_lifetime, settings.bus_names)
        service.renewer = Renewer(service.identity, service.bus, clock, obtain=self._on_bus.renew)
        service.bus.on_connected(self._publish_again)
        self._prepared = False
        service.health.alive_when("authority", lambda: None if self._prepared else "the authority is not set up yet")

    async def run(self) -> None:
        """Serve enrolment at once, and the bus as soon as it is there: the bus starts with what is made here."""
        service, settings = self._service, self._settings
        socket = listen(settings.enrolment_host, settings.enrolment_port)
        for own in (self._on_bus, self._front, self._bus):
            await own.ensure()
        server = Listener(create_app(self._authority, self._issuing), self._front.identity)
        await self._drops.project(self._authority.bundle_pem)
        service.background(server.serve(sockets=[socket]), "enrolment listener")
        service.background(self._drops.keep_fresh(), "join tokens")
        service.background(self._front.keep_fresh(server.renewed, applied=True), "listener certificate")
        # A bus that was running already may still show what was here before: it reloads once in any case.
        service.background(self._bus.keep_fresh(self._reload_bus, applied=False), "bus certificate")
        self._prepared = True
        try:
            await service.run(on_connected=self._publish)
        finally:
            server.should_exit = True
            socket.close()

    async def _publish(self) -> None:
        await publish_trust(self._service.bus, self._authority.bundle_pem)

    async def _publish_again(self) -> None:
        """A bus that came back may have lost its store."""
        try:
            await self._publish()
        except (InterlockError, NatsError, TimeoutError) as error:
            _log.warning("trust bundle not published again", error=str(error) or type(error).__name__)

    async def _reload_bus(self) -> None:
        await self._admin.ensure()
        await reload_bus(self._service.bus.url, self._admin.identity)

    def _own(self, name: str, directory: Path, lifetime: timedelta, names: tuple[str, ...] = ()) -> OwnIdentity:
        clock = self._service.clock
        identity = Identity(name, self._settings.trust_domain, directory, clock)
        return OwnIdentity(self._issuing, identity, self._authority.bundle_pem, lifetime, clock, names)


async def serve(settings: Settings) -> None:
    """Run certs with ``settings``."""
    async with running(settings, _CERTS, description="the certificate authority", join=False) as service:
        engine = open_engine(settings.database_url)
        try:
            await Certs(settings, service, engine).run()
        finally:
            await engine.dispose()
