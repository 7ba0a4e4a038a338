import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.authority import Authority, Leaf
from interlock_certs.issuing import Issuing
from interlock_certs.joining import JoinDrops
from interlock_certs.models import Base
from interlock_certs.plan import Lifetimes, Plan
from interlock_certs.profiles import Profile, Profiles
from interlock_common.database import migrate, open_engine
from interlock_common.errors import InterlockError
from interlock_common.testing.clock import ManualClock

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
