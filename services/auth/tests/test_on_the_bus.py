"""Auth as a whole, on a real bus with the permissions of the deployment, asked as the gateway asks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest

from interlock_auth.app import serve
from interlock_auth.config import Settings
from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.database import migrate
from interlock_common.errors import DeadlineExceeded, PermissionDenied, Unauthenticated, Unavailable
from interlock_common.messages import resources, subjects
from interlock_common.messages.auth import (
    Assertion,
    CreateToken,
    IssuedToken,
    KeyRotated,
    Login,
    MintAssertion,
    Principal,
    Revocation,
    RevokeToken,
    RotateKey,
    Scopes,
    SigningKey,
    TokenList,
    principal_key,
    revocation_key,
)
from interlock_common.messages.common import Actor, Page
from interlock_common.messages.revocation import Receipt
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import TRUST_DOMAIN, EmbeddedBus

ADMIN = "admin@example.com"
PASSWORD = "correct horse battery staple"


@dataclass
class Edge:
    """The gateway's side: its connection and its mirrors."""

    bus: Bus
    keys: Mirror[SigningKey]
    principals: Mirror[Principal]
    revocations: Mirror[Revocation]

    async def login(self, password: str = PASSWORD) -> IssuedToken:
        return await self.bus.request(subjects.AUTH_LOGIN, Login(ADMIN, password), IssuedToken)

    def claims(self, token: str) -> dict[str, Any]:
        key = self.keys.items[jwt.get_unverified_header(token)["kid"]]
        jwk = jwt.PyJWK(msgspec.json.decode(key.jwk))
        return jwt.decode(token, jwk, algorithms=[key.algorithm], audience="mcpgateway-api", issuer="mcpgateway")


async def appears(mirror: Mirror[Any], key: str) -> None:
    """Wait until the mirror has the key."""
    seen = asyncio.Event()
    mirror.on_change(lambda changed, _value: seen.set() if changed == key else None)
    if mirror.get(key) is None:
        await asyncio.wait_for(seen.wait(), 5)


def settings(bus: EmbeddedBus, directory: Path) -> Settings:
    bus.identity("auth")
    return Settings(
        bus_url=bus.url, trust_domain=TRUST_DOMAIN, identity_dir=bus.directory / "identities" / "auth",
        health_port=0, database_url=f"sqlite:///{directory}/auth.db", key_dir=directory / "keys", key_overlap=0,
        platform_admin_email=ADMIN, platform_admin_password=PASSWORD,
    )  # fmt: skip


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[None]:
    task = asyncio.create_task(serve(settings))
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def edge(embedded_bus: EmbeddedBus, tmp_path: Path) -> AsyncGenerator[Edge]:
    audit, gateway = embedded_bus.bus("audit"), embedded_bus.bus("gateway")
    await audit.start()
    await kv.ensure_stream(audit, resources.AUDIT)
    await kv.ensure_stream(audit, resources.EVENTS)
    configured = settings(embedded_bus, tmp_path)
    await asyncio.to_thread(migrate, configured.database_url, "interlock_auth")
    async with running(configured):
        await gateway.start()
        edge = Edge(
            gateway,
            Mirror(gateway, resources.SIGNING_KEYS, SigningKey),
            Mirror(gateway, resources.PRINCIPALS, Principal),
            Mirror(gateway, resources.REVOCATIONS, Revocation),
        )
        mirrors = (edge.keys, edge.principals, edge.revocations)
        for mirror in mirrors:
            await mirror.start()
            await mirror.wait_complete()
        await appears(edge.principals, principal_key(ADMIN))
        yield edge
        for mirror in mirrors:
            await mirror.stop()
        await gateway.stop()
    await audit.stop()


async def test_from_login_to_revocation(edge: Edge) -> None:
    login = await edge.login()
    assert edge.claims(login.token)["sub"] == ADMIN
    actor = Actor(ADMIN, is_admin=True, token_id=login.id)

    scopes = Scopes("one", ("tools.execute",))
    created = await edge.bus.request(subjects.AUTH_TOKEN_CREATE, CreateToken(actor, "ci", 600, scopes), IssuedToken)
    assert edge.claims(created.token)["scopes"] == {"server_id": "one", "permissions": ["tools.execute"]}
    listed = await edge.bus.request(subjects.AUTH_TOKEN_LIST, Page(actor), TokenList)
    assert {(token.name, token.revoked) for token in listed.tokens} == {("login", False), ("ci", False)}

    revoked = await edge.bus.request(subjects.AUTH_TOKEN_REVOKE, RevokeToken(actor, created.id, "leaked"), Receipt)
    await appears(edge.revocations, revocation_key(created.id))
    assert edge.revocations.revision == revoked.revision
    assert edge.revocations.items[revocation_key(created.id)].reason == "leaked"


async def test_a_rotated_key_signs_and_the_old_one_still_verifies(edge: Edge) -> None:
    before = await edge.login()
    actor = Actor(ADMIN, is_admin=True, token_id=before.id)
    rotated = await edge.bus.request(subjects.AUTH_KEY_ROTATE, RotateKey(actor), KeyRotated)
    await appears(edge.keys, rotated.kid)
    async with asyncio.timeout(5):  # it signs from the next second on
        while jwt.get_unverified_header((after := await edge.login()).token)["kid"] != rotated.kid:
            assert edge.claims(after.token)
    assert edge.claims(before.token)["jti"] == before.id
    assert edge.claims(after.token)["jti"] == after.id


async def test_refusals_reach_the_edge_with_their_code(edge: Edge) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await edge.login("wrong")
    assert refused.value.code == "login_refused"
    stranger = CreateToken(Actor("stranger@example.com", is_admin=True), "t", 60)
    with pytest.raises(PermissionDenied) as denied:
        await edge.bus.request(subjects.AUTH_TOKEN_CREATE, stranger, IssuedToken)
    assert denied.value.code == "not_contained"


async def test_only_gateway_and_catalog_may_have_somebody_vouched_for(edge: Edge, embedded_bus: EmbeddedBus) -> None:
    request = MintAssertion(ADMIN, "https://login.example.com/token")
    minted = await edge.bus.request(subjects.AUTH_TOKEN_ASSERTION, request, Assertion)
    assert jwt.get_unverified_header(minted.token)["typ"] == "assertion+jwt"
    with pytest.raises(jwt.InvalidAudienceError):
        edge.claims(minted.token)
    for service, may in (("catalog", True), ("plugins", False), ("connector", False)):
        bus = embedded_bus.bus(service)
        await bus.start()
        try:
            if may:
                assert (await bus.request(subjects.AUTH_TOKEN_ASSERTION, request, Assertion)).token
            else:
                with pytest.raises((DeadlineExceeded, Unavailable)):
                    await bus.request(subjects.AUTH_TOKEN_ASSERTION, request, Assertion, timeout=0.5)
        finally:
            await bus.stop()


async def test_a_restart_rebuilds_a_lost_bucket(edge: Edge, embedded_bus: EmbeddedBus, tmp_path: Path) -> None:
    login = await edge.login()
    kid = jwt.get_unverified_header(login.token)["kid"]
    gone = asyncio.Event()
    edge.keys.on_change(lambda _key, value: gone.set() if value is None else None)
    owner = embedded_bus.bus("auth")
    await owner.start()
    await kv.delete(owner, resources.SIGNING_KEYS, kid)
    await owner.stop()
    await asyncio.wait_for(gone.wait(), 5)
    async with running(settings(embedded_bus, tmp_path)):
        await appears(edge.keys, kid)
    assert edge.claims(login.token)["jti"] == login.id
