"""A user's consent from end to end: a real catalog and two edges on a real bus, with the deployment's permissions."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.database import migrate
from interlock_common.errors import NotFound
from interlock_common.messages import resources, subjects
from interlock_common.messages.catalog import (
    CatalogItem,
    CreateUpstream,
    Credential,
    Upstream,
    VirtualServer,
    upstream_key,
)
from interlock_common.messages.common import Actor, Page
from interlock_common.messages.grants import Grant, GrantList, RevokeGrant, grant_key
from interlock_common.mirror import Mirror
from interlock_common.sealing import Sealer
from interlock_common.testing.bus import TRUST_DOMAIN, EmbeddedBus
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.catalog.app import serve as serve_catalog
from interlock_gateway.catalog.config import Settings
from interlock_gateway.catalog.testing import MAKER
from interlock_gateway.consents.grants import EdgeGrants, UsedOnce
from interlock_gateway.testing.oauth import AuthorizationServer, ProtectedUpstream
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.oauth.consents import Consents
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded, Vault
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints
from interlock_gateway.upstreams.oauth.user_tokens import UserTokens

SECRET = "a secret of the whole deployment"
EVE = Actor("eve@example.com", permissions=("*",))


@dataclass
class Edge:
    """What an edge has for consents."""

    bus: Bus
    grants: EdgeGrants
    consents: Consents
    tokens: UserTokens
    clock: ManualClock
    mirror: Mirror[Grant]
    catalog: Mirror[CatalogItem]

    def upstream(self, upstream_id: str) -> Upstream:
        found = self.catalog.get(upstream_key(upstream_id))
        assert isinstance(found, Upstream)
        return found


@asynccontextmanager
async def catalog_on(bus: EmbeddedBus) -> AsyncGenerator[None]:
    url = f"sqlite:///{bus.directory}/catalog.db"
    await asyncio.to_thread(migrate, url, "interlock_gateway.catalog")
    given: dict[str, Any] = {
        "bus_url": bus.url, "trust_domain": TRUST_DOMAIN, "identity_dir": bus.identity("catalog").directory,
        "health_port": 0, "database_url": url, "auth_encryption_secret": SECRET, "allow_private_upstreams": True,
    }  # fmt: skip
    settings = Settings(**given)
    task = asyncio.create_task(serve_catalog(settings))
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def edge_on(embedded: EmbeddedBus, known: dict[str, Upstream]) -> AsyncGenerator[Edge]:
    bus = embedded.bus("gateway")
    await bus.start()
    await kv.ensure_bucket(bus, resources.CONSENTS)
    mirror: Mirror[Grant] = Mirror(bus, resources.GRANTS, Grant)
    catalog: Mirror[CatalogItem] = Mirror(bus, resources.CATALOG, Upstream | VirtualServer)
    for each in (mirror, catalog):
        await each.start()
        await each.wait_complete()
    grants, sealer, clock = EdgeGrants(bus, mirror), Sealer(SECRET.encode()), ManualClock(SYSTEM_CLOCK.now())
    endpoints = TokenEndpoints(AddressPolicy(allow_private=True))
    consents = Consents(known.get, grants, sealer, endpoints, UsedOnce(bus), clock, base="https://gateway.example")
    tokens = UserTokens(grants, Vault(sealer), endpoints, clock, holder=bus.instance, link=consents.link)
    try:
        yield Edge(bus, grants, consents, tokens, clock, mirror, catalog)
    finally:
        await tokens.stop()
        await mirror.stop()
        await catalog.stop()
        await endpoints.close()
        await bus.stop()


@pytest.fixture
async def streams(embedded_bus: EmbeddedBus) -> None:
    """What audit would have made."""
    audit = embedded_bus.bus("audit")
    await audit.start()
    await kv.ensure_stream(audit, resources.AUDIT)
    await kv.ensure_stream(audit, resources.EVENTS)
    await audit.stop()


async def consent(edge: Edge, server: AuthorizationServer, upstream: Upstream, principal: str) -> None:
    url, _ = edge.consents.link(upstream, principal)
    place = await edge.consents.begin(upstream.id, parse_qs(urlsplit(url).query)["state"][0], principal)
    await edge.consents.finish(server.visit(place), principal)


@pytest.mark.usefixtures("streams")
async def test_a_consent_given_at_one_edge_counts_at_all_and_lets_the_catalog_look(
    embedded_bus: EmbeddedBus, serve: Any
) -> None:
    server = AuthorizationServer()
    server.issuer = (await serve(server)).removesuffix("/mcp")
    url = await serve(ProtectedUpstream(server))
    known: dict[str, Upstream] = {}
    async with catalog_on(embedded_bus), edge_on(embedded_bus, known) as one, edge_on(embedded_bus, known) as other:
        # 1: the owner registers it; nothing can be found out yet
        made = await one.bus.request(
            subjects.CATALOG_UPSTREAM_CREATE,
            CreateUpstream(MAKER, "mail", url, credential=Credential("oauth")), Upstream, timeout=20,
        )  # fmt: skip
        known[made.id] = made
        assert (made.reachable, made.problem) == (False, f"upstream mail waits for the consent of {MAKER.principal}")

        # 2: the owner consents; the catalog looks with the owner's grant
        await consent(one, server, made, MAKER.principal)
        await until(lambda: one.upstream(made.id).reachable)
        assert [tool.name for tool in one.upstream(made.id).tools] == ["echo"]

        # 3: the other edge has the owner's token too, and none for eve
        key = grant_key(made.id, MAKER.principal)
        await until(lambda: other.mirror.get(key) is not None)
        assert await other.tokens.headers(made, MAKER.principal) == await one.tokens.headers(made, MAKER.principal)
        with pytest.raises(ConsentNeeded):
            await other.tokens.headers(made, EVE.principal)

        # 4: both edges need a refresh at the same time; the refresh token is used once
        for edge in (one, other):
            edge.clock.advance(3600)
        both = await asyncio.gather(*[edge.tokens.headers(made, MAKER.principal) for edge in (one, other)])
        assert both[0] == both[1]
        assert not server.reused

        # 5: revoked, it is gone at both
        listed = await one.bus.request(subjects.CATALOG_GRANT_LIST, Page(MAKER), GrantList)
        assert [(each.principal, each.upstream_name) for each in listed.grants] == [(MAKER.principal, "mail")]
        await other.consents.revoke(RevokeGrant(MAKER, made.id, MAKER.principal))
        assert server.revoked
        await until(lambda: one.mirror.get(key) is None)
        with pytest.raises(ConsentNeeded):
            await one.tokens.headers(made, MAKER.principal)
        with pytest.raises(NotFound):
            await one.consents.revoke(RevokeGrant(MAKER, made.id, MAKER.principal))
