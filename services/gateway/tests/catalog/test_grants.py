import msgspec
import pytest

from interlock_common.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from interlock_common.messages.catalog import CreateUpstream, Credential, Upstream
from interlock_common.messages.common import ById, Page
from interlock_common.messages.grants import NOBODY, ClaimGrant, Grant, RevokeGrant, StoreGrant, grant_key
from interlock_gateway.catalog.errors import GrantChanged, SecretsNotKept
from interlock_gateway.catalog.own_grants import OwnGrants
from interlock_gateway.catalog.publishing import digest_of
from interlock_gateway.catalog.refreshing import Refreshing
from interlock_gateway.catalog.testing import ADMIN, MAKER, STRANGER, Parts, wire
from interlock_gateway.upstreams.discovery.discovery import Discovered
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded

ADA = MAKER.principal
URL = "https://notes.example.com/mcp"


@pytest.fixture
async def upstream(parts: Parts) -> Upstream:
    return await parts.upstreams.create(CreateUpstream(MAKER, "notes", URL, credential=Credential("oauth")))


async def stored(parts: Parts, upstream: Upstream, principal: str = ADA, replaces: int | None = None) -> Grant:
    return await parts.grants.store(StoreGrant(upstream.id, principal, "sealed", "read", 99, replaces))


async def test_a_grant_is_kept_shown_to_edges_and_recorded(parts: Parts, upstream: Upstream) -> None:
    grant = await stored(parts, upstream)
    assert parts.outlet.grants == {grant_key(upstream.id, ADA): grant}
    assert await parts.grants.held(upstream.id, ADA) == grant
    action, actor, target, detail = parts.outlet.actions[-1]
    assert (action, actor, target, detail) == ("grant.stored", ADA, upstream.id, {"scope": "read"})
    assert "ada" not in grant_key(upstream.id, ADA)


async def test_only_the_version_that_was_read_can_be_replaced(parts: Parts, upstream: Upstream) -> None:
    first = await stored(parts, upstream)
    second = await stored(parts, upstream, replaces=first.generation)
    assert second.generation > first.generation
    with pytest.raises(GrantChanged):
        await stored(parts, upstream, replaces=first.generation)
    with pytest.raises(GrantChanged):
        await stored(parts, upstream, "eve@example.com", replaces=1)
    assert (await stored(parts, upstream)).generation > second.generation


async def test_a_grant_given_anew_after_its_revocation_counts_as_newer(parts: Parts, upstream: Upstream) -> None:
    first = await stored(parts, upstream)
    await parts.grants.revoke(RevokeGrant(MAKER, upstream.id, ADA))
    parts.clock.advance(1)
    assert (await stored(parts, upstream)).generation > first.generation


async def test_one_at_a_time_refreshes_a_grant(parts: Parts, upstream: Upstream) -> None:
    grant = await stored(parts, upstream)

    async def claim(holder: str, generation: int = grant.generation) -> bool:
        return (await parts.grants.claim(ClaimGrant(upstream.id, ADA, generation, holder, 30))).claimed

    assert await claim("edge-1")
    assert await claim("edge-1")
    assert not await claim("edge-2")
    assert not await claim("edge-1", grant.generation + 1)
    parts.clock.advance(31)
    assert await claim("edge-2")
    await stored(parts, upstream, replaces=grant.generation)
    assert not await claim("edge-2")


async def test_a_grant_that_edges_cannot_see_is_not_stored(parts: Parts, upstream: Upstream) -> None:
    parts.outlet.away = True
    with pytest.raises(Unavailable):
        await stored(parts, upstream)
    assert await parts.grants.held(upstream.id, ADA) is None


async def test_everybody_lists_and_revokes_their_own_and_administrators_all(parts: Parts, upstream: Upstream) -> None:
    for principal in (ADA, STRANGER.principal, NOBODY):
        await stored(parts, upstream, principal)
    own = await parts.grants.list(Page(STRANGER))
    assert [(each.principal, each.upstream_name, each.scope) for each in own.grants] == [
        (STRANGER.principal, "notes", "read")
    ]
    first = await parts.grants.list(Page(ADMIN, limit=1))
    rest = await parts.grants.list(Page(ADMIN, first.next_cursor))
    assert {each.principal for each in (*first.grants, *rest.grants)} == {ADA, STRANGER.principal}
    assert "sealed" not in msgspec.json.encode(rest).decode()
    with pytest.raises(PermissionDenied):
        await parts.grants.revoke(RevokeGrant(STRANGER, upstream.id, ADA))
    await parts.grants.revoke(RevokeGrant(ADMIN, upstream.id, ADA))
    with pytest.raises(NotFound):
        await parts.grants.revoke(RevokeGrant(MAKER, upstream.id, ADA))
    assert grant_key(upstream.id, ADA) not in parts.outlet.grants


async def test_grants_go_with_their_upstream(parts: Parts, upstream: Upstream) -> None:
    await stored(parts, upstream)
    await parts.upstreams.delete(ById(MAKER, upstream.id))
    assert parts.outlet.grants == {}
    with pytest.raises(NotFound):
        await stored(parts, upstream)


async def test_the_bucket_is_brought_to_what_the_database_holds(parts: Parts, upstream: Upstream) -> None:
    grant = await stored(parts, upstream)
    key = grant_key(upstream.id, ADA)
    parts.outlet.grants = {"gone.x": grant}
    assert await parts.grants.reconcile({"gone.x": b""}) == 2
    assert parts.outlet.grants == {key: grant}
    assert await parts.grants.reconcile({key: digest_of(msgspec.json.encode(grant))}) == 0


async def test_an_upstream_waits_for_its_owners_grant_and_is_looked_at_when_that_comes(parts: Parts) -> None:
    parts.world.found[URL] = ConsentNeeded("upstream notes waits for the consent of maker", upstream="notes")
    made = await parts.upstreams.create(CreateUpstream(MAKER, "notes", URL, credential=Credential("oauth")))
    assert not made.reachable
    assert made.problem == "upstream notes waits for the consent of maker"
    parts.world.found[URL] = Discovered("modern", "2026-07-28")
    refreshing = Refreshing(parts.engine, parts.looking, parts.publisher, parts.clock, concurrency=1)
    await stored(parts, made, "eve@example.com")
    assert await refreshing.round() == 0
    await stored(parts, made)
    assert await refreshing.round() == 1
    assert (await parts.upstreams.get(ById(MAKER, made.id))).reachable


async def test_without_a_secret_to_seal_with_nobody_is_asked_to_consent(parts: Parts) -> None:
    unsealed = wire(parts.engine, secret=None)
    with pytest.raises(SecretsNotKept, match="AUTH_ENCRYPTION_SECRET"):
        await unsealed.upstreams.create(CreateUpstream(MAKER, "notes", URL, credential=Credential("oauth")))


async def test_the_catalog_uses_grants_where_they_are_kept(parts: Parts, upstream: Upstream) -> None:
    own = OwnGrants(parts.grants, parts.clock)
    grant = await own.store(StoreGrant(upstream.id, ADA, "sealed"))
    assert await own.claim(ClaimGrant(upstream.id, ADA, grant.generation, "catalog", 30))
    assert await own.newer(upstream.id, ADA, grant.generation - 1, 1) == grant
    await own.drop(upstream.id, ADA, grant.generation + 1)
    assert await own.held(upstream.id, ADA) == grant
    await own.drop(upstream.id, ADA, grant.generation)
    assert await own.held(upstream.id, ADA) is None


@pytest.mark.parametrize(
    "public",
    [
        {"token_endpoint": "https://login.example.com/token"},
        {"authorization_endpoint": "https://login.example.com/a", "token_endpoint": "https://login.example.com/t"},
        {"issuer": "ftp://login.example.com"},
        {"client-id": "x"},
    ],
)
async def test_half_an_authorization_server_is_refused_at_once(parts: Parts, public: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        await parts.upstreams.create(CreateUpstream(MAKER, "notes", URL, credential=Credential("oauth", public)))
