"""The only wiring of certs."""

import asyncio
from datetime import timedelta

from interlock_common.database import open_engine
from interlock_common.enrolment import Renewer
from interlock_common.messages.access import BUS_ADMIN
from interlock_common.runtime import Service, running
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.api import create_app
from interlock_certs.authority import Authority, Lifetimes
from interlock_certs.bus import BusAnnouncer, bind, publish_trust
from interlock_certs.bus_reload import reload_bus
from interlock_certs.config import Settings
from interlock_certs.issuing import Issuing
from interlock_certs.joining import JoinDrops
from interlock_certs.listener import Listener, listen
from interlock_certs.own import OwnIdentity


class Certs:
    """The parts of certs, wired to one process."""

    def __init__(self, settings: Settings, service: Service, engine: AsyncEngine) -> None:
        self._settings = settings
        self._service = service
        service.renewer = Renewer(service.identity, service.bus, service.clock, obtain=self._renew_own)
        clock = service.clock
        lifetimes = Lifetimes(timedelta(seconds=settings.root_lifetime), timedelta(seconds=settings.issuing_lifetime))
        self._authority = Authority.open(settings.ca_dir, settings.trust_domain, lifetimes, clock)
        self._drops = JoinDrops(engine, settings.join_drop_dir, settings.joining, settings.join_token_lifetime, clock)
        lifetime = timedelta(seconds=settings.leaf_lifetime)
        announcer = BusAnnouncer(service.bus, service.audit, clock)
        self._issuing = Issuing(self._authority, self._drops, engine, announcer, lifetime, clock)
        bind(service.bus, self._issuing)
        self._on_bus = self._own("certs", "", lifetime)
        self._admin = self._own(BUS_ADMIN, "bus-admin", timedelta(seconds=settings.bus_leaf_lifetime))
        self._front = self._own("certs", "listener", lifetime, settings.enrolment_names)
        self._bus = OwnIdentity(
            self._authority, "bus", settings.trust_domain, settings.bus_identity_dir,
            timedelta(seconds=settings.bus_leaf_lifetime), clock, settings.bus_names,
        )  # fmt: skip
        self._prepared = False
        service.health.alive_when("authority", lambda: None if self._prepared else "the authority is not set up yet")

    async def run(self) -> None:
        """Serve enrolment at once, and the bus as soon as it is there: the bus starts with what is made here."""
        socket = listen(self._settings.enrolment_host, self._settings.enrolment_port)
        for own in (self._on_bus, self._admin, self._front, self._bus):
            own.ensure()
        server = Listener(create_app(self._authority, self._issuing), self._front.identity)
        service = self._service
        service.background(server.serve(sockets=[socket]), "enrolment listener")
        await self._drops.project(self._authority.bundle_pem)
        self._prepared = True

        async def front_renewed() -> None:
            server.renewed()

        service.background(self._drops.keep_fresh(), "join tokens")
        service.background(self._front.keep_fresh(front_renewed), "listener certificate")
        service.background(self._bus.keep_fresh(self._reload_bus), "bus certificate")
        service.background(self._admin.keep_fresh(_nothing), "bus admin certificate")
        try:
            await service.run(on_connected=self._publish)
        finally:
            server.should_exit = True
            socket.close()

    async def _publish(self) -> None:
        await publish_trust(self._service.bus, self._authority.bundle_pem)

    async def _renew_own(self) -> None:
        await asyncio.to_thread(self._on_bus.renew)

    async def _reload_bus(self) -> None:
        await reload_bus(self._service.bus.url, self._admin.identity)

    def _own(self, name: str, folder: str, lifetime: timedelta, names: tuple[str, ...] = ()) -> OwnIdentity:
        settings = self._settings
        directory = settings.identity_dir / folder
        return OwnIdentity(
            self._authority, name, settings.trust_domain, directory, lifetime, self._service.clock, names
        )


async def _nothing() -> None:
    """The admin connects anew each time, and reads its files then."""


async def serve(settings: Settings) -> None:
    """Run certs with ``settings``."""
    async with running(settings, "certs", description="the certificate authority", join=False) as service:
        engine = open_engine(settings.database_url)
        try:
            await Certs(settings, service, engine).run()
        finally:
            await engine.dispose()
