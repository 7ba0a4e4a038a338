"""The only wiring of certs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import structlog
import uvicorn
from nats.errors import Error as NatsError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import api, status_api
from interlock_certs.announcing import Announcer
from interlock_certs.authority import Authority
from interlock_certs.bus import RevokedBucket, bind
from interlock_certs.bus_admin import BusAdmin
from interlock_certs.ca_files import CaFiles
from interlock_certs.ca_keys import KeyCare, Token, read
from interlock_certs.config import Settings
from interlock_certs.crl import Crls
from interlock_certs.generations import Generations, Open
from interlock_certs.issuing import Issuing
from interlock_certs.joining import JoinDrops
from interlock_certs.kubernetes import ServiceAccounts
from interlock_certs.listener import Listener, listen
from interlock_certs.monitoring import ExpiryMonitor
from interlock_certs.ocsp import OcspResponder
from interlock_certs.own import OwnIdentity
from interlock_certs.peers import Peers
from interlock_certs.pins import Pins
from interlock_certs.plan import Brought, Lifetimes, Plan
from interlock_certs.pointers import pointers_to
from interlock_certs.profile_files import read_profiles
from interlock_certs.profiles import BUS
from interlock_certs.revocation import Revocations
from interlock_certs.rotation import Rotation
from interlock_certs.successors import Successors
from interlock_certs.trust import Shown, Trust
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.database import open_engine
from interlock_common.enrolment import Renewer
from interlock_common.errors import ConfigurationError, InterlockError
from interlock_common.identity import Identity
from interlock_common.messages.access import BUS_ADMIN
from interlock_common.runtime import Service, running

_log = structlog.get_logger()
_CERTS = "certs"
_ADMIN_LIFETIME = timedelta(minutes=10)
"""The administrator of the bus exists only while it is needed: a new leaf for each occasion."""
_PINNED_LIFETIMES = 3
"""How many lifetimes after its end a leaf keeps the connection that it opened."""
_PUBLISH_PAUSES = (0.05, 0.2, 0.5)
_SHOW_AGAIN_SECONDS = 1.0
_LONGEST_LOOK = 60.0
_LOOKS = 20


class Certs:
    """The parts of certs, wired to one process."""

    def __init__(self, settings: Settings, service: Service, engine: AsyncEngine) -> None:
        self._settings = settings
        self._service = service
        bus, clock = service.bus, service.clock
        lifetime = timedelta(seconds=settings.leaf_lifetime)
        self._generations = Generations(engine, settings.ca_dir, opener_of(settings, service), clock)
        self._drops = JoinDrops(engine, settings.join_drop_dir, settings.joining, settings.join_token_lifetime, clock)
        announcer = Announcer(bus, service.audit, clock)
        profiles = read_profiles(settings.profiles_file, settings.trust_domain, lifetime)
        cluster = settings.cluster
        accounts = None if cluster is None else ServiceAccounts(cluster, clock)
        self._successors = Successors(bus, clock)
        self._successors.bind()
        self._issuing = Issuing(
            self._generations,
            self._drops,
            engine,
            announcer,
            profiles,
            clock,
            accounts,
            self._admit,
            self._successors.renewed,
        )
        directory, bus_lifetime = settings.identity_dir, timedelta(seconds=settings.bus_leaf_lifetime)
        # The listener needs host names, and a leaf for the bus must have none: the bus would map them to users.
        self._on_bus = self._own(_CERTS, directory, lifetime)
        self._front = self._own(_CERTS, directory / "listener", lifetime, settings.enrolment_names)
        read_by_bus = asyncio.Lock()
        self._bus = self._own(BUS, settings.bus_identity_dir, bus_lifetime, settings.bus_names, files=read_by_bus)
        # Its key lies with the keys of the CA: without it nobody could tell a running bus which leaves there are.
        self._admin = self._own(BUS_ADMIN, settings.ca_dir / BUS_ADMIN, _ADMIN_LIFETIME, keeps_key=True)
        admin = self._bus_admin = BusAdmin(bus.url, self._admin, clock)
        grace = _PINNED_LIFETIMES * settings.leaf_lifetime
        self._pins = Pins(
            engine, settings.bus_identity_dir, admin, lambda: self._generations.issuer_ids, grace, clock, read_by_bus
        )
        peers = Peers(engine, admin, self._generations, clock)
        self._rotation = Rotation(self._generations, peers, self._apply_trust, announcer, clock)
        status_lifetime = timedelta(seconds=settings.crl_lifetime)
        self._crls = Crls(engine, lambda: self._generations.issuers, status_lifetime, settings.crl_dir, clock)
        self._ocsp = OcspResponder(engine, lambda: self._generations.issuers, status_lifetime, clock)
        self._revoked = RevokedBucket(bus, clock)
        self._revocations = Revocations(
            engine, self._pins, admin, self._revoked, announcer, self._status_changed, clock
        )
        look = min(_LONGEST_LOOK, settings.leaf_lifetime / _LOOKS)
        self._monitor = ExpiryMonitor(engine, self._generations, admin, announcer, look, clock)
        bind(bus, self._issuing, peers, self._revocations, self._rotation)
        service.renewer = Renewer(service.identity, bus, clock, obtain=self._on_bus.renew)
        bus.on_connected(self._publish_again)
        self._trust: Trust
        self._unshown = asyncio.Event()
        self._prepared = False
        service.health.alive_when("authority", lambda: None if self._prepared else "the authority is not set up yet")

    async def run(self) -> None:
        """Serve enrolment at once, and the bus as soon as it is there: the bus starts with what is made here."""
        service, settings = self._service, self._settings
        sockets = [listen(settings.enrolment_host, settings.enrolment_port)]
        await self._generations.load()
        for own in (self._admin, self._on_bus, self._front, self._bus):
            await own.ensure()
        await self._pins.write()
        routes = status_api.router(self._generations, self._crls, self._ocsp, service.clock)
        enrolment = api.create_app(self._generations, self._issuing)
        enrolment.include_router(routes)
        server = Listener(enrolment, self._front.identity)
        servers: list[uvicorn.Server] = [server]
        await self._drops.project(self._generations.bundle_pem)
        service.background(server.serve(sockets=sockets[:]), "enrolment listener")
        if settings.status_port is not None:
            sockets.append(status_api.listen(settings.status_host, settings.status_port))
            status = status_api.StatusListener(status_api.create_app(routes))
            servers.append(status)
            service.background(status.serve(sockets=sockets[-1:]), "status listener")
        self._trust = Trust(self._generations, self._drops, service.bus, (
            Shown(self._bus, self._pins.enforce),
            Shown(self._on_bus, self._show_on_bus),
            Shown(self._front, server.renewed),
        ))  # fmt: skip
        self._start_keeping(server.renewed)
        self._prepared = True
        try:
            await service.run(on_connected=self._publish)
        finally:
            for each in servers:
                each.should_exit = True
            for socket in sockets:
                socket.close()

    def _start_keeping(self, front_renewed: Callable[[], Awaitable[None]]) -> None:
        service = self._service
        service.background(self._drops.keep_fresh(), "join tokens")
        service.background(self._front.keep_fresh(front_renewed, applied=True), "listener certificate")
        # A bus that was running already may still show what was here before: it reloads once in any case.
        service.background(self._bus.keep_fresh(self._pins.enforce, applied=False), "bus certificate")
        service.background(self._bus_admin.keep_tidy(), "administrator of the bus")
        service.background(self._pins.keep_enforced(), "pins of the bus")
        service.background(self._rotation.keep_applied(), "CA rotation")
        service.background(self._monitor.run(), "expiry monitor")
        service.background(self._keep_shown(), "leaf of certs")
        if self._settings.crl_dir is not None:
            service.background(self._crls.keep_written(), "CRL files")
        if self._settings.ca_rotation == "auto":
            service.background(self._rotation.keep_rotating(), "automatic CA rotation")

    async def _publish(self) -> None:
        await self._trust.publish()
        await self._successors.ensure()
        await self._revoked.ensure()
        await self._revocations.publish_all()

    async def _publish_again(self) -> None:
        """A bus that came back may have lost its store; one that reloads answers nothing for a moment."""
        for pause in (*_PUBLISH_PAUSES, None):
            try:
                await self._publish()
            except (InterlockError, NatsError, SQLAlchemyError, TimeoutError) as error:
                if pause is None:
                    _log.warning("buckets not published again", error=str(error) or type(error).__name__)
                else:
                    await self._service.clock.sleep(pause)
            else:
                return

    async def _admit(self) -> None:
        await self._pins.admit()

    async def _apply_trust(self) -> None:
        await self._trust.apply()

    async def _show_on_bus(self) -> None:
        """Not at once: the link that is replaced waits for what it serves, and that may be who asks for this."""
        self._unshown.set()

    async def _keep_shown(self) -> None:
        while True:
            await self._unshown.wait()
            self._unshown.clear()
            try:
                await self._service.bus.rotate(self._on_bus.identity.client_context())
            except (InterlockError, NatsError, OSError) as error:
                _log.warning("leaf of certs not shown yet", error=str(error) or type(error).__name__)
                self._unshown.set()
                await self._service.clock.sleep(_SHOW_AGAIN_SECONDS)

    def _status_changed(self) -> None:
        self._crls.changed()
        self._ocsp.changed()

    def _own(
        self,
        name: str,
        directory: Path,
        lifetime: timedelta,
        names: tuple[str, ...] = (),
        *,
        keeps_key: bool = False,
        files: asyncio.Lock | None = None,
    ) -> OwnIdentity:
        clock = self._service.clock
        identity = Identity(name, self._settings.trust_domain, directory, clock)
        return OwnIdentity(
            self._issuing,
            identity,
            lambda: self._generations.bundle_pem,
            lifetime,
            clock,
            names,
            keeps_key=keeps_key,
            files=files,
        )


def opener_of(settings: Settings, service: Service) -> Open:
    """How the CA of a folder is opened; the next brought chain is looked for in the folder of its generation."""
    plan = plan_of(settings)

    def opened(directory: Path) -> Authority:
        if plan.brought is None or directory == settings.ca_dir:
            return Authority.open(directory, plan, service.clock)
        brought = Brought(*(directory / name for name in ("root.crt", "issuing-chain.pem", "issuing.key")))
        return Authority.open(directory, replace(plan, brought=brought), service.clock)

    return opened


def plan_of(settings: Settings) -> Plan:
    """The CA as the settings want it; raises ConfigurationError when they cannot be met."""
    passphrase = settings.ca_key_passphrase
    care = KeyCare(
        settings.ca_key_algorithm, passphrase.get_secret_value().encode() if passphrase else None, _token(settings)
    )
    lifetimes = Lifetimes(timedelta(seconds=settings.root_lifetime), timedelta(seconds=settings.issuing_lifetime))
    return Plan(settings.trust_domain, lifetimes, care, settings.ca_root, settings.brought,
                pointers_to(settings.status_url))  # fmt: skip


def _token(settings: Settings) -> Token | None:
    if settings.pkcs11_module is None:
        return None
    try:
        from interlock_certs.hsm import HsmToken  # noqa: PLC0415 - an extra that most do without
    except ImportError:
        raise ConfigurationError("PKCS11_MODULE needs the extra: pip install 'interlock-certs[pkcs11]'") from None
    pin = settings.pkcs11_pin.get_secret_value() if settings.pkcs11_pin is not None else ""
    return HsmToken(settings.pkcs11_module, settings.pkcs11_token, pin)


def write_issuing_request(settings: Settings) -> str:
    """Write the request for the next issuing CA; answers what to do with it."""
    files = _folder(settings)
    files.write_request(settings.trust_domain)
    return f"have the offline root sign {files.request}, then: python -m interlock_certs issuing-chain FILE"


def place_issuing_chain(settings: Settings, chain: str) -> str:
    """Check a chain that the offline root signed, and put it where certs takes it over."""
    issuer = _folder(settings).place_chain(read(Path(chain)), chain, SYSTEM_CLOCK.now())
    return f"certs takes it over when it next signs; it counts until {issuer.not_after:%FT%TZ}"


def _folder(settings: Settings) -> CaFiles:
    settings.ca_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return CaFiles(settings.ca_dir, plan_of(settings).care)


async def serve(settings: Settings) -> None:
    """Run certs with ``settings``."""
    async with running(settings, _CERTS, description="the certificate authority", join=False) as service:
        engine = open_engine(settings.database_url)
        try:
            await Certs(settings, service, engine).run()
        finally:
            await engine.dispose()
