import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.authority import Authority, Leaf, Lifetimes
from interlock_certs.issuing import Issuing
from interlock_certs.joining import JoinDrops
from interlock_certs.models import Base
from interlock_common.database import migrate, open_engine
from interlock_common.testing.clock import ManualClock

DOMAIN = "interlock.test"
DAY = timedelta(days=1)
POSTGRES = os.environ.get("TEST_POSTGRES_URL")


@dataclass
class FakeAnnouncer:
    leaves: list[tuple[Leaf, bool]] = field(default_factory=list[tuple[Leaf, bool]])

    async def issued(self, leaf: Leaf, *, renewal: bool) -> None:
        self.leaves.append((leaf, renewal))


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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def authority(tmp_path: Path, clock: ManualClock) -> Authority:
    return Authority.open(tmp_path / "ca", DOMAIN, Lifetimes(3650 * DAY, 365 * DAY), clock)


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
async def world(tmp_path: Path, clock: ManualClock, authority: Authority, engine: AsyncEngine) -> World:
    join = tmp_path / "join"
    drops = JoinDrops(engine, join, ("auth", "gateway"), 300, clock)
    await drops.project(authority.bundle_pem)
    announcer = FakeAnnouncer()
    issuing = Issuing(authority, drops, engine, announcer, DAY, clock)
    return World(clock, engine, authority, drops, announcer, issuing, join)
