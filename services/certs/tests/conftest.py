import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.api import create_app
from interlock_certs.authority import Authority, Leaf
from interlock_certs.issuing import Issuing
from interlock_certs.joining import JoinDrops
from interlock_certs.listener import Listener, listen
from interlock_certs.models import Base
from interlock_certs.own import OwnIdentity
from interlock_certs.plan import Lifetimes, Plan
from interlock_certs.profiles import Profile, Profiles
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.database import migrate, open_engine
from interlock_common.errors import InterlockError
from interlock_common.identity import Identity
from interlock_common.testing.clock import ManualClock
from interlock_common.tls import client_context

DOMAIN = "interlock.test"
DAY = timedelta(days=1)
LIFETIMES = Lifetimes(3650 * DAY, 365 * DAY)
POSTGRES = os.environ.get("TEST_POSTGRES_URL")


@dataclass
class FakeAnnouncer:
    leaves: list[tuple[Leaf, bool]] = field(default_factory=list[tuple[Leaf, bool]])
    refusals: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    async def issued(self, leaf: Leaf, *, renewal: bool) -> None:
        self.leaves.append((leaf, renewal))

    async def refused(self, identity: str, error: InterlockError) -> None:
        self.refusals.append((identity, error.code))


@dataclass
class World:
    """Certs without a bus: the stories on a real database and a clock that tests move."""

    clock: ManualClock
    engine: AsyncEngine
    authority: Authority
    drops: JoinDrops
    announcer: FakeAnnouncer
    issuing: Issuing
    join: Path

    def token(self, identity: str) -> str:
        return (self.join / identity / "token").read_text()


class Requests:
    """Requests as their owners make them."""

    key = ec.generate_private_key(ec.SECP256R1())

    def __call__(self, *names: x509.GeneralName, key: Any = None, name: str = "", extensions: Any = ()) -> bytes:
        """The DER of a request for ``names`` of somebody whose subject says ``name``."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        key = key or self.key
        digest: Any = hashes.SHA256() if hasattr(key, "key_size") else None
        return builder.sign(key, digest).public_bytes(Encoding.DER)


@pytest.fixture
def csr() -> Requests:
    return Requests()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def plan() -> Plan:
    return Plan(DOMAIN, LIFETIMES)


@pytest.fixture
def profiles() -> Profiles:
    return Profiles(DOMAIN, {"service": Profile(DAY)})


@pytest.fixture
def authority(tmp_path: Path, plan: Plan, clock: ManualClock) -> Authority:
    return Authority.open(tmp_path / "ca", plan, clock)


@pytest.fixture(params=["sqlite", "postgresql"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[AsyncEngine]:
    url = f"sqlite:///{tmp_path / 'certs.db'}"
    if request.param == "postgresql":
        if POSTGRES is None:
            pytest.skip("TEST_POSTGRES_URL is not set")
        url = POSTGRES
    await asyncio.to_thread(migrate, url, "interlock_certs")
    engine = open_engine(url)
    yield engine
    async with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            await connection.execute(table.delete())
    await engine.dispose()


@pytest.fixture
async def world(
    tmp_path: Path, clock: ManualClock, authority: Authority, profiles: Profiles, engine: AsyncEngine
) -> World:
    join = tmp_path / "join"
    drops = JoinDrops(engine, join, ("auth", "gateway"), 300, clock)
    await drops.project(authority.bundle_pem)
    announcer = FakeAnnouncer()
    issuing = Issuing(authority, drops, engine, announcer, profiles, clock)
    return World(clock, engine, authority, drops, announcer, issuing, join)


@dataclass
class Front:
    """A running enrolment listener, on the clock of the machine."""

    directory: Path
    port: int
    own: OwnIdentity
    server: Listener
    authority: Authority
    issuing: Issuing
    announcer: FakeAnnouncer
    engine: AsyncEngine

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext:
        return client_context(self.directory / "join/auth/bundle.pem")

    def token(self, identity: str = "auth") -> str:
        return (self.directory / "join" / identity / "token").read_text()

    def session(self, context: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, connector=aiohttp.TCPConnector(ssl=context or self.trust))

    def identity(self, name: str = "auth") -> Identity:
        return Identity(name, DOMAIN, self.directory / name)


type StartFront = Callable[..., AbstractAsyncContextManager[Front]]

FRONT_PROFILE = Profile(30 * DAY, dns=("*.example.com",), common_name=True)


@pytest.fixture
def start_front(tmp_path: Path, plan: Plan) -> StartFront:
    """Start a listener, with ``accounts`` where service accounts may join."""

    @asynccontextmanager
    async def start(accounts: Any = None) -> AsyncGenerator[Front]:
        url = f"sqlite:///{tmp_path / 'front.db'}"
        await asyncio.to_thread(migrate, url, "interlock_certs")
        engine = open_engine(url)
        authority = Authority.open(tmp_path / "ca", plan, SYSTEM_CLOCK)
        profiles = Profiles(DOMAIN, {"service": Profile(DAY), "front": FRONT_PROFILE}, {"nginx": "front"})
        drops = JoinDrops(engine, tmp_path / "join", ("auth", "nginx"), 300, SYSTEM_CLOCK)
        await drops.project(authority.bundle_pem)
        announcer = FakeAnnouncer()
        issuing = Issuing(authority, drops, engine, announcer, profiles, SYSTEM_CLOCK, accounts)
        identity = Identity("certs", DOMAIN, tmp_path / "listener")
        names = ("localhost", "127.0.0.1")
        own = OwnIdentity(issuing, identity, lambda: authority.bundle_pem, DAY, SYSTEM_CLOCK, names)
        await own.ensure()
        server, socket = Listener(create_app(authority, issuing), identity), listen("127.0.0.1", 0)
        tasks = [asyncio.create_task(server.serve(sockets=[socket])), asyncio.create_task(drops.keep_fresh())]
        try:
            port = socket.getsockname()[1]
            yield Front(tmp_path, port, own, server, authority, issuing, announcer, engine)
        finally:
            server.should_exit = True
            await tasks[0]
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.dispose()

    return start


@pytest.fixture
async def front(start_front: StartFront) -> AsyncGenerator[Front]:
    async with start_front() as running:
        yield running
