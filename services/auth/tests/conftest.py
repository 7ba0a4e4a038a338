import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from argon2 import PasswordHasher
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.administrator import FirstAdministrator, ensure_administrator
from interlock_auth.keys import Keyring, KeyRules
from interlock_auth.models import PrincipalRow
from interlock_auth.oauth import AuthorizationServer, OAuthRules
from interlock_auth.oauth_registration import RegistrationRules
from interlock_auth.passwords import Passwords
from interlock_auth.principals import LoginRules, Principals
from interlock_auth.receipts import Receipts
from interlock_auth.revocation import Revocations
from interlock_auth.selectors import Selectors
from interlock_auth.signing import KeyFolder
from interlock_auth.store import Store
from interlock_auth.testing_oauth import OAuthWorld
from interlock_auth.tokens import Mint, TokenRules, Tokens
from interlock_common.database import migrate, open_engine, transaction
from interlock_common.errors import Unavailable
from interlock_common.messages.common import Actor
from interlock_common.messages.resources import Bucket
from interlock_common.testing.clock import ManualClock

ADMIN = "admin@example.com"
PASSWORD = "correct horse battery staple"
_CHEAP = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)  # Argon2id all the same
POSTGRES = os.environ.get("TEST_POSTGRES_URL")


@dataclass
class FakeOutlet:
    """Keeps what would go onto the bus; ``away`` refuses as a lost bus does."""

    buckets: dict[str, dict[str, msgspec.Struct]] = field(default_factory=dict[str, dict[str, msgspec.Struct]])
    ttls: dict[str, float | None] = field(default_factory=dict[str, float | None])
    events: list[tuple[str, msgspec.Struct]] = field(default_factory=list[tuple[str, msgspec.Struct]])
    actions: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    revision: int = 0
    away: bool = False

    async def put(self, bucket: Bucket, key: str, value: msgspec.Struct, ttl: float | None = None) -> int:
        if self.away:
            raise Unavailable("the bus is away")
        self.revision += 1
        self.buckets.setdefault(bucket.name, {})[key] = value
        self.ttls[key] = ttl
        return self.revision

    async def delete(self, bucket: Bucket, key: str) -> None:
        del self.buckets[bucket.name][key]

    async def event(self, subject: str, event: msgspec.Struct) -> None:
        self.events.append((subject, event))

    async def record(self, action: str, actor: str, target: str, **detail: object) -> None:
        self.record_soon(action, actor, target, **detail)

    def record_soon(self, action: str, actor: str, target: str, **detail: object) -> None:
        assert msgspec.json.encode(detail)
        self.actions.append((action, actor, target))


@dataclass
class World:
    """Auth without a bus: every story on a real database and a clock that tests move."""

    engine: AsyncEngine
    clock: ManualClock
    outlet: FakeOutlet
    folder: KeyFolder
    keyring: Keyring
    mint: Mint
    passwords: Passwords
    tokens: Tokens
    principals: Principals
    revocations: Revocations
    selectors: Selectors
    receipts: Receipts

    async def add(self, name: str, *permissions: str, teams: tuple[str, ...] = (), active: bool = True) -> Actor:
        row = PrincipalRow(
            name=name, password_hash=None, active=active, is_admin=False,
            teams=msgspec.json.encode(teams).decode(), permissions=msgspec.json.encode(permissions).decode(),
            created_at=0,
        )  # fmt: skip
        async with transaction(self.engine) as session:
            assert await Store(session).add_principal(row)
        return Actor(name, teams=teams, permissions=permissions)

    async def ensure(self, password: str | None, *, development: bool = False) -> None:
        wanted = FirstAdministrator(ADMIN, password, min_length=8, development=development)
        await ensure_administrator(self.engine, self.passwords, self.clock, wanted)

    async def administrator(self) -> Actor:
        await self.ensure(PASSWORD)
        return Actor(ADMIN, is_admin=True)


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRES else [])])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[AsyncEngine]:
    url = f"sqlite:///{tmp_path}/auth.db"
    if request.param == "postgresql":
        assert POSTGRES is not None
        url = POSTGRES
        await _empty(url)
    await asyncio.to_thread(migrate, url, "interlock_auth")
    engine = open_engine(url)
    yield engine
    await engine.dispose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def world(engine: AsyncEngine, clock: ManualClock, tmp_path: Path) -> World:
    outlet = FakeOutlet()
    folder = KeyFolder(tmp_path / "keys")
    keyring = Keyring(engine, folder, outlet, KeyRules("EdDSA", overlap=10, lifetime=90 * 86400), clock)
    mint = Mint(engine, keyring, TokenRules(), clock)
    rules = LoginRules(max_failures=3, lockout=1800, session_lifetime=3600)
    passwords = Passwords(_CHEAP)
    principals = Principals(engine, outlet, passwords, mint, rules, clock)
    await keyring.prepare()
    receipts = Receipts(clock, settling=0)
    revocations = Revocations(engine, outlet, clock, receipts)
    return World(
        engine, clock, outlet, folder, keyring, mint, passwords, Tokens(engine, mint, outlet, clock), principals,
        revocations, Selectors(engine, outlet, revocations, receipts, clock, max_lifetime=90 * 86400), receipts,
    )  # fmt: skip


@pytest.fixture
async def oauth(world: World) -> OAuthWorld:
    """The authorization server, Ada, and a client of hers; few clients may register, so that tests reach the bounds."""
    rules = OAuthRules(registration=RegistrationRules(dynamic=True, most=5, per_minute=3))
    server = AuthorizationServer(
        world.engine, world.principals, world.mint, world.revocations, world.outlet, rules, world.clock
    )
    made = OAuthWorld(world.engine, world.passwords, server, rules)
    await made.add()
    await made.register()
    return made


async def _empty(url: str) -> None:
    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
