import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.catalog import Credential, Upstream
from interlock_common.messages.common import Actor
from interlock_common.messages.grants import NOBODY, RevokeGrant
from interlock_common.sealing import Sealer
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.testing.grants import FakeGrants, FakeOnce
from interlock_gateway.testing.oauth import AuthorizationServer, ProtectedUpstream
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.testing.upstreams import all_of, http_over
from interlock_gateway.upstreams.addresses import AddressForbidden, AddressPolicy
from interlock_gateway.upstreams.connections import Ways
from interlock_gateway.upstreams.credentials import CredentialUnusable
from interlock_gateway.upstreams.oauth.authorization_server import same_issuer
from interlock_gateway.upstreams.oauth.consents import ConsentRefused, Consents
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded, Vault
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints
from interlock_gateway.upstreams.oauth.user_tokens import UserTokens
from interlock_gateway.upstreams.transport import UpstreamRequest

ADA, EVE = "ada@example.com", "eve@example.com"
ADAS, EVES = "browser-of-ada", "browser-of-eve"
SEALER = Sealer(b"secret")


@dataclass
class Story:
    """A gateway, an upstream, and the authorization server that it believes."""

    server: AuthorizationServer
    endpoints: TokenEndpoints
    upstream: Upstream
    protected: ProtectedUpstream
    clock: ManualClock = field(default_factory=ManualClock)
    grants: FakeGrants = field(default_factory=FakeGrants)
    once: FakeOnce = field(default_factory=FakeOnce)

    def __post_init__(self) -> None:
        self.consents = Consents(
            lambda _id: self.upstream, self.grants, SEALER, self.endpoints, self.once, self.clock,
            base="https://gateway.example",
        )  # fmt: skip
        self.tokens = self.edge("edge-1")

    def edge(self, holder: str) -> UserTokens:
        return UserTokens(
            self.grants, Vault(SEALER), self.endpoints, self.clock, holder=holder, link=self.consents.link
        )

    def with_credential(self, **public: str) -> None:
        self.upstream = msgspec.structs.replace(self.upstream, credential=Credential("oauth", public))

    async def sent(self, principal: str = ADA, browser: str = ADAS) -> str:
        """The address of the authorization server that a principal is sent to."""
        url, _ = self.consents.link(self.upstream, principal)
        return await self.consents.begin(self.upstream.id, state_of(url), browser)

    async def consent(self, principal: str = ADA, browser: str = ADAS) -> None:
        back = self.server.visit(await self.sent(principal, browser))
        assert await self.consents.finish(back, browser) == (self.upstream.name, principal)

    async def bearer(self, principal: str = ADA) -> str:
        headers = await self.tokens.headers(self.upstream, principal)
        return headers["Authorization"].removeprefix("Bearer ")


def state_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["state"][0]


@pytest.fixture
async def endpoints() -> AsyncGenerator[TokenEndpoints]:
    endpoints = TokenEndpoints(AddressPolicy(allow_private=True))
    yield endpoints
    await endpoints.close()


@pytest.fixture
async def story(serve: Any, endpoints: TokenEndpoints) -> Story:
    server = AuthorizationServer()
    server.issuer = (await serve(server)).removesuffix("/mcp")
    protected = ProtectedUpstream(server)
    upstream = upstream_at(await serve(protected), credential=Credential("oauth"))
    return Story(server, endpoints, upstream, protected)


async def test_who_has_not_consented_is_told_where(story: Story) -> None:
    with pytest.raises(ConsentNeeded, match=r"notes waits for the consent of ada@example\.com") as needed:
        await story.bearer()
    assert needed.value.url.startswith("https://gateway.example/oauth/upstreams/u1/start?state=")
    assert needed.value.id
    start, upstream = story.consents.opened("u1", state_of(needed.value.url))
    assert (start.principal, upstream) == (ADA, story.upstream)


async def test_a_consent_leads_through_discovery_registration_and_pkce_to_a_token(story: Story) -> None:
    await story.consent()
    assert story.server.who(await story.bearer()) is not None
    kinds = [kind for kind, _ in story.server.asked]
    assert kinds == ["register", "authorize", "token"]
    asked, exchanged = story.server.asked[1][1], story.server.asked[2][1]
    assert asked["redirect_uri"] == "https://gateway.example/oauth/upstreams/callback"
    assert asked["resource"] == exchanged["resource"] == story.upstream.url
    assert asked["code_challenge_method"] == "S256"
    assert exchanged["code_verifier"] not in str(asked)


async def test_a_registration_is_made_once_for_all_users_and_kept_sealed(story: Story) -> None:
    await story.consent()
    await story.consent(EVE, EVES)
    assert len(story.server.clients) == 1
    (secret,) = story.server.clients.values()
    assert secret not in story.grants.kept["u1", NOBODY].sealed


async def test_a_configured_client_needs_no_registration_and_configured_endpoints_no_discovery(story: Story) -> None:
    story.server.open_to_all = False
    story.server.clients["ours"] = ""
    base = story.server.issuer
    story.with_credential(client_id="ours", issuer=base, scope="read write")
    await story.consent()
    assert story.server.asked[0][1]["scope"] == "read write"
    story.with_credential(
        client_id="ours", authorization_endpoint=f"{base}/authorize", token_endpoint=f"{base}/token",
        resource=story.upstream.url,
    )  # fmt: skip
    await story.consent()
    assert [kind for kind, _ in story.server.asked] == ["authorize", "token"] * 2


async def test_a_server_that_registers_nobody_needs_a_client_id(story: Story) -> None:
    story.server.open_to_all = False
    with pytest.raises(CredentialUnusable, match="needs the client_id"):
        await story.sent()


async def test_every_principal_has_a_token_of_their_own(story: Story, ways: Ways) -> None:
    http = http_over(ways, oauth=story.tokens)
    await story.consent()
    with pytest.raises(ConsentNeeded):
        await all_of(http, call(story.upstream, EVE))
    assert story.protected.tokens == []
    story.server.user = "eve"
    await story.consent(EVE, EVES)
    assert b'"ada"' in (await all_of(http, call(story.upstream, ADA)))[0]
    assert b'"eve"' in (await all_of(http, call(story.upstream, EVE)))[0]
    assert len(set(story.protected.tokens)) == 2


def call(upstream: Upstream, principal: str) -> UpstreamRequest:
    return UpstreamRequest(upstream, "tools/call", "echo", b'{"name":"echo"}', principal, "")


async def test_a_token_is_refreshed_ahead_of_its_end_once_for_all_who_ask(story: Story) -> None:
    await story.consent()
    first = await story.bearer()
    story.clock.advance(3600 - 61)
    assert await story.bearer() == first
    story.clock.advance(2)
    together = await asyncio.gather(*[story.bearer() for _ in range(5)])
    assert len(set(together)) == 1
    assert together[0] != first
    assert [kind for kind, _ in story.server.asked].count("token") == 2


async def test_rotated_refresh_tokens_are_stored_and_never_used_twice_by_several_edges(story: Story) -> None:
    await story.consent()
    other = story.edge("edge-2")
    for _ in range(3):
        story.clock.advance(3600)
        found = await asyncio.gather(
            story.tokens.headers(story.upstream, ADA), other.headers(story.upstream, ADA), story.bearer()
        )
        assert found[0] == found[1]
    assert not story.server.reused
    assert [kind for kind, _ in story.server.asked].count("token") == 4


async def test_a_refresh_goes_on_when_whoever_wanted_it_leaves(story: Story) -> None:
    await story.consent()
    story.clock.advance(3600)
    leaving = asyncio.create_task(story.bearer())
    await until(lambda: bool(story.grants.claims))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await story.tokens.stop()
    assert story.server.who(await story.bearer()) is not None
    assert not story.server.reused


async def test_a_refreshed_token_that_cannot_be_stored_is_used_and_stored_later(story: Story) -> None:
    await story.consent()
    story.clock.advance(3600)
    claim = story.grants.claim

    async def claimed_before_the_bus_went(request: Any) -> bool:
        claimed = await claim(request)
        story.grants.away = True
        return claimed

    story.grants.claim = claimed_before_the_bus_went  # pyright: ignore[reportAttributeAccessIssue] - a method
    before = story.grants.kept["u1", ADA]
    token = await story.bearer()
    assert story.grants.kept["u1", ADA] == before
    assert await story.bearer() == token
    story.grants.away = False
    assert await story.bearer() == token
    assert story.grants.kept["u1", ADA].generation > before.generation
    assert await story.edge("edge-2").headers(story.upstream, ADA) == {"Authorization": f"Bearer {token}"}


async def test_a_refused_refresh_forgets_the_grant_and_asks_again(story: Story) -> None:
    await story.consent()
    story.server.refresh.clear()
    story.clock.advance(3600)
    with pytest.raises(ConsentNeeded):
        await story.bearer()
    assert ("u1", ADA) not in story.grants.kept


async def test_a_server_that_is_away_costs_nothing_while_the_token_counts(story: Story) -> None:
    await story.consent()
    first = await story.bearer()
    story.server.away = True
    story.clock.advance(3600 - 30)
    assert await story.bearer() == first
    story.clock.advance(31)
    with pytest.raises(CredentialUnusable) as refused:
        await story.bearer()
    assert "refresh-" not in str(refused.value)
    assert ("u1", ADA) in story.grants.kept
    story.server.away = False
    story.clock.advance(3)
    assert await story.bearer() != first


async def test_a_token_that_the_upstream_refuses_is_refreshed_once(story: Story, ways: Ways) -> None:
    http = http_over(ways, oauth=story.tokens)
    await story.consent()
    story.server.access.clear()
    assert b'"ada"' in (await all_of(http, call(story.upstream, ADA)))[0]
    story.server.access.clear()
    with pytest.raises(UpstreamMisbehaved, match="HTTP 401"):
        await all_of(http, call(story.upstream, ADA))
    assert [kind for kind, _ in story.server.asked].count("token") == 2


async def test_a_grant_is_of_no_use_where_the_upstream_leads_elsewhere_by_now(story: Story) -> None:
    await story.consent()
    moved = msgspec.structs.replace(story.upstream, url="https://elsewhere.example/mcp")
    with pytest.raises(ConsentNeeded):
        await story.tokens.headers(moved, ADA)
    assert await story.bearer()


async def test_a_grant_opens_for_nobody_else(story: Story) -> None:
    await story.consent()
    story.grants.kept["u1", EVE] = story.grants.kept["u1", ADA]
    with pytest.raises(ConsentNeeded):
        await story.bearer(EVE)


async def test_a_revoked_grant_is_revoked_at_its_server_too(story: Story) -> None:
    await story.consent()
    await story.consents.revoke(RevokeGrant(Actor(ADA), "u1", ADA))
    assert story.server.revoked[0].startswith("refresh-")
    with pytest.raises(ConsentNeeded):
        await story.bearer()


# attacks


async def test_a_state_is_good_once(story: Story) -> None:
    url, _ = story.consents.link(story.upstream, ADA)
    back = story.server.visit(await story.consents.begin("u1", state_of(url), ADAS))
    with pytest.raises(ConsentRefused, match="used already"):
        await story.consents.begin("u1", state_of(url), ADAS)
    await story.consents.finish(back, ADAS)
    with pytest.raises(ConsentRefused, match="used already"):
        await story.consents.finish(back, ADAS)


async def test_a_state_expires_after_ten_minutes(story: Story) -> None:
    url, _ = story.consents.link(story.upstream, ADA)
    back = story.server.visit(await story.sent())
    story.clock.advance(601)
    with pytest.raises(ConsentRefused, match="expired"):
        await story.consents.begin("u1", state_of(url), ADAS)
    with pytest.raises(ConsentRefused, match="expired"):
        await story.consents.finish(back, ADAS)


async def test_a_state_that_is_wrong_or_of_another_browser_or_upstream_leads_nowhere(story: Story) -> None:
    url, _ = story.consents.link(story.upstream, ADA)
    back = story.server.visit(await story.sent())
    of_eve = story.server.visit(await story.sent(EVE, EVES))
    for query, browser in (
        (back, EVES),
        (of_eve, ADAS),
        (back | {"state": "x"}, ADAS),
        (back | {"state": state_of(url)}, ADAS),
        ({"code": back["code"]}, ADAS),
        (back, ""),
    ):
        with pytest.raises(ConsentRefused, match="not given out here"):
            await story.consents.finish(query, browser)
    with pytest.raises(ConsentRefused, match="for another upstream"):
        await story.consents.begin("u2", state_of(url), ADAS)
    assert not [key for key in story.grants.kept if key[1] != NOBODY]


async def test_a_code_of_one_flow_is_no_good_in_another(story: Story) -> None:
    ada = story.server.visit(await story.sent())
    eve = story.server.visit(await story.sent(EVE, EVES))
    with pytest.raises(CredentialUnusable, match="refused: invalid_grant"):
        await story.consents.finish(ada | {"code": eve["code"]}, ADAS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"sends_iss": False}, "does not say which"), ({"says_iss": "https://evil.example"}, "from another")],
)
async def test_an_answer_of_another_server_is_refused(story: Story, changes: dict[str, Any], words: str) -> None:
    for name, value in changes.items():
        setattr(story.server, name, value)
    back = story.server.visit(await story.sent())
    with pytest.raises(ConsentRefused, match=words):
        await story.consents.finish(back, ADAS)
    assert [kind for kind, _ in story.server.asked].count("token") == 0


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"code_challenge_methods_supported": ["plain"]}, "does not announce PKCE with S256"),
        ({"code_challenge_methods_supported": None}, "does not announce PKCE with S256"),
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "must have an https address"),
        ({"token_endpoint": "file:///etc/passwd"}, "must have an https address"),
        ({"token_endpoint": "http://169.254.169.254/token"}, "is not a public address"),
    ],
)
async def test_a_server_whose_metadata_cannot_be_trusted_is_not_used(
    story: Story, metadata: dict[str, Any], words: str
) -> None:
    story.server.metadata = metadata
    with pytest.raises((CredentialUnusable, AddressForbidden), match=words):
        await story.sent()


async def test_metadata_about_another_resource_does_not_count(story: Story) -> None:
    story.protected.resource = "https://bank.example/mcp"
    with pytest.raises(CredentialUnusable, match="about another resource"):
        await story.sent()


async def test_no_redirect_of_metadata_or_tokens_is_followed(story: Story, serve: Any) -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response(story.server.described())

    target = await serve(elsewhere)

    async def redirects(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": target})

    base = (await serve(redirects)).removesuffix("/mcp")
    story.with_credential(issuer=base)
    with pytest.raises(CredentialUnusable, match="no metadata"):
        await story.sent()
    story.with_credential(
        client_id="ours", authorization_endpoint=f"{story.server.issuer}/authorize", token_endpoint=f"{base}/token"
    )
    back = story.server.visit(await story.sent())
    with pytest.raises(CredentialUnusable, match="HTTP 307"):
        await story.consents.finish(back, ADAS)
    assert not seen


async def test_private_addresses_are_as_forbidden_as_those_of_upstreams(story: Story) -> None:
    guarded = TokenEndpoints(AddressPolicy())
    story.endpoints = guarded
    story.__post_init__()
    base = story.server.issuer.replace("http:", "https:")
    try:
        for public in (
            {"issuer": base},
            {"authorization_endpoint": "https://login.example/a", "token_endpoint": f"{base}/token", "client_id": "x"},
        ):
            story.with_credential(**public)
            with pytest.raises(AddressForbidden):
                await story.sent()
    finally:
        await guarded.close()
    assert not story.server.asked


async def test_an_error_of_the_server_is_told_in_its_code_only(story: Story) -> None:
    back = story.server.visit(await story.sent())
    with pytest.raises(ConsentRefused, match=r"did not grant it: access_deniedscript$"):
        await story.consents.finish({**back, "error": "access_denied<script>"}, ADAS)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/", "https://a.example", True),
        ("https://a.example/x", "https://a.example/x/", False),
        ("https://a.example", "https://a.example.evil", False),
        ("https://a.example", "", False),
    ],
)
def test_an_issuer_is_the_same_to_the_letter_but_for_the_slash_of_a_host(one: str, other: str, *, same: bool) -> None:
    assert same_issuer(one, other) is same


async def test_what_is_secret_does_not_show_when_it_is_printed(story: Story) -> None:
    await story.consent()
    grant = story.grants.kept["u1", ADA]
    tokens = Vault(SEALER).tokens("u1", ADA, grant)
    assert tokens is not None
    for secret in (tokens.access, tokens.refresh, tokens.client.secret):
        assert secret
        assert secret not in repr(tokens)
        assert secret not in grant.sealed
