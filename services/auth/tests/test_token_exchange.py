import json
from typing import Any

import jwt
import msgspec
import pytest

from interlock_auth.containment import Grant
from interlock_auth.oauth_clients import TOKEN_EXCHANGE
from interlock_auth.oauth_errors import (
    InvalidClient,
    InvalidClientMetadata,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    UnauthorizedClient,
)
from interlock_auth.oauth_exchange import ACCESS_TOKEN
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_auth.testing_oauth import ADA, OAuthWorld, claims, metadata
from interlock_common.database import transaction
from interlock_common.messages.auth import RevokeToken, Scopes, TimeRestrictions, UsageLimits
from interlock_common.messages.common import Actor, Page
from interlock_common.messages.oauth import IntrospectToken, RegisterClient, RegisteredClient, TokenAnswer, TokenRequest
from interlock_common.messages.revocation import Revoke, Selector

MCP, SERVER = "https://gateway.example/mcp", "https://gateway.example/servers/s1/mcp"


class Exchanging:
    """An agent's client that may exchange, and tokens of Ada."""

    def __init__(self, world: Any, oauth: OAuthWorld, client: RegisteredClient) -> None:
        self.world, self.oauth, self.client = world, oauth, client

    async def token(self, scopes: Scopes | None = None, lifetime: int = 600, **also: Any) -> str:
        async with transaction(self.world.engine) as session:
            row = await Store(session).principal(ADA)
        assert row is not None
        grant = Grant(scopes or Scopes(), ("red",))
        return (await self.world.mint.issue(principal_of(row), "subject", lifetime, grant, also)).token

    async def exchange(self, subject: str, **also: Any) -> TokenAnswer:
        given: dict[str, Any] = {
            "grant_type": TOKEN_EXCHANGE, "client_id": self.client.client_id,
            "client_secret": self.client.client_secret, "auth_method": "client_secret_basic",
            "subject_token": subject, "subject_token_type": ACCESS_TOKEN,
        }  # fmt: skip
        return await self.oauth.server.tokens.exchange(TokenRequest(**given | also))


@pytest.fixture
async def exchanging(world: Any, oauth: OAuthWorld) -> Exchanging:
    said = {
        "grant_types": [TOKEN_EXCHANGE],
        "token_endpoint_auth_method": "client_secret_basic",
        "client_name": "Agent",
    }
    root = await world.administrator()
    client = await oauth.server.registration.register(RegisterClient(msgspec.Raw(json.dumps(said).encode()), root))
    assert client.redirect_uris == ()
    return Exchanging(world, oauth, client)


async def test_a_client_that_asked_for_bound_tokens_gets_them_bound_to_what_it_shows(exchanging: Exchanging) -> None:
    root = await exchanging.world.administrator()
    said = {"grant_types": [TOKEN_EXCHANGE], "tls_client_certificate_bound_access_tokens": True}
    asked = RegisterClient(msgspec.Raw(json.dumps(said).encode()), root)
    exchanging.client = await exchanging.oauth.server.registration.register(asked)
    with pytest.raises(InvalidRequest):
        await exchanging.exchange(await exchanging.token())
    answer = await exchanging.exchange(await exchanging.token(), certificate="b" * 43)
    assert claims(answer.access_token)["cnf"] == {"x5t#S256": "b" * 43}
    bound = await exchanging.token(cnf={"x5t#S256": "a" * 43})
    answer = await exchanging.exchange(bound, certificate="b" * 43)
    assert claims(answer.access_token)["cnf"] == {"x5t#S256": "a" * 43}  # what is bound stays bound to the same


async def test_a_token_becomes_a_narrower_one_for_one_server(exchanging: Exchanging) -> None:
    subject = await exchanging.token()
    answer = await exchanging.exchange(subject, scope="tools.read", resource=SERVER, server_id="s1")
    said = claims(answer.access_token)
    assert (answer.scope, answer.issued_token_type, answer.refresh_token) == ("tools.read", ACCESS_TOKEN, None)
    assert said["aud"] == [SERVER]
    assert said["scopes"] == {"server_id": "s1", "permissions": ["tools.read"]}
    assert (said["sub"], said["teams"], said["client_id"]) == (ADA, ["red"], exchanging.client.client_id)
    assert said["act"] == {"sub": exchanging.client.client_id}
    assert said["parent"] == [claims(subject)["jti"]]
    assert ("token.exchanged", ADA, said["jti"]) in exchanging.world.outlet.actions


async def test_without_a_scope_it_is_what_mcp_needs_of_what_the_token_opens(
    exchanging: Exchanging,
) -> None:
    answer = await exchanging.exchange(await exchanging.token())
    assert answer.scope == "tools.read tools.execute servers.read"
    narrow = await exchanging.token(Scopes(permissions=("tools.execute", "tokens.read")))
    assert (await exchanging.exchange(narrow)).scope == "tools.execute"
    with pytest.raises(InvalidScope):
        await exchanging.exchange(await exchanging.token(Scopes(permissions=("tokens.read",))))


async def test_it_ends_with_the_token_that_it_was_made_of_at_the_latest(exchanging: Exchanging) -> None:
    subject = await exchanging.token(lifetime=100)
    exchanging.world.clock.advance(40)
    answer = await exchanging.exchange(subject)
    assert answer.expires_in == 60
    assert claims(answer.access_token)["exp"] == claims(subject)["exp"]
    assert (await exchanging.exchange(await exchanging.token(lifetime=86400))).expires_in == 900


@pytest.mark.parametrize(
    ("scopes", "asked", "error"),
    [
        (Scopes(permissions=("tools.read",)), {"scope": "tools.read tools.execute"}, InvalidScope),
        (Scopes(), {"scope": "gateways.create"}, InvalidScope), (Scopes(), {"scope": "no.such"}, InvalidScope),
        (Scopes(server_id="s1"), {"resource": MCP}, InvalidTarget),
        (Scopes(server_id="s1"), {"resource": f"{MCP}/s2", "server_id": "s2"}, InvalidTarget),
        (Scopes(usage_limits=UsageLimits(requests_total=3)), {}, InvalidRequest),
        (Scopes(), {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}, InvalidRequest),
        (Scopes(), {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, InvalidRequest),
        (Scopes(), {"actor_token": "x"}, InvalidRequest), (Scopes(), {"subject_token": ""}, InvalidRequest),
        (Scopes(), {"subject_token": "x" * 20000}, InvalidRequest),
        (Scopes(), {"subject_token": "guess"}, InvalidRequest),
        (Scopes(), {"client_secret": "guess"}, InvalidClient), (Scopes(), {"auth_method": "none"}, InvalidClient),
    ],
)  # fmt: skip
async def test_what_would_open_more_or_is_none_is_refused(
    exchanging: Exchanging, scopes: Scopes, asked: dict[str, Any], error: type[Exception]
) -> None:
    subject = await exchanging.token(scopes)
    with pytest.raises(error):
        await exchanging.exchange(subject, **asked)


async def test_limits_of_place_and_time_and_what_it_is_bound_to_stay(exchanging: Exchanging) -> None:
    limits = Scopes(ip_restrictions=("10.0.0.0/8",), time_restrictions=TimeRestrictions(days=("mon",)))
    subject = await exchanging.token(limits, cnf={"x5t#S256": "a" * 43}, sid="s-1")
    said = claims((await exchanging.exchange(subject)).access_token)
    assert said["scopes"]["ip_restrictions"] == ["10.0.0.0/8"]
    assert said["scopes"]["time_restrictions"]["days"] == ["mon"]
    assert (said["cnf"], said["sid"]) == ({"x5t#S256": "a" * 43}, "s-1")


async def test_a_token_that_is_ours_by_its_looks_only_is_no_token(exchanging: Exchanging) -> None:
    said = claims(await exchanging.token())
    forged = jwt.encode(said, "x" * 32, "HS256")
    with pytest.raises(InvalidRequest):
        await exchanging.exchange(forged)


async def test_children_are_revoked_with_every_token_before_them(exchanging: Exchanging) -> None:
    subject = await exchanging.token()
    child = (await exchanging.exchange(subject)).access_token
    grandchild = (await exchanging.exchange(child, scope="tools.read")).access_token
    ids = [claims(token)["jti"] for token in (child, subject)]
    assert claims(grandchild)["parent"] == ids
    ada = Actor(ADA, teams=("red",), permissions=("tokens.read",))
    ask = exchanging.oauth.server.inspection.introspect
    assert (await ask(IntrospectToken(grandchild, ada))).active
    await exchanging.world.revocations.revoke(RevokeToken(Actor(ADA), claims(subject)["jti"]))
    for token in (subject, child, grandchild):
        assert not (await ask(IntrospectToken(token, ada))).active
        with pytest.raises(InvalidRequest):
            await exchanging.exchange(token)


async def test_tokens_that_were_revoked_together_or_have_expired_are_not_handed_on(exchanging: Exchanging) -> None:
    subject = await exchanging.token()
    short = await exchanging.token(lifetime=10)
    exchanging.world.clock.advance(11)
    with pytest.raises(InvalidRequest):
        await exchanging.exchange(short)
    await exchanging.world.selectors.revoke(Revoke(Actor(ADA), Selector("user", ADA)))
    with pytest.raises(InvalidRequest):
        await exchanging.exchange(subject)


async def test_a_chain_has_an_end(exchanging: Exchanging) -> None:
    token = await exchanging.token()
    for _ in range(8):
        token = (await exchanging.exchange(token)).access_token
    with pytest.raises(InvalidRequest, match="at most 8"):
        await exchanging.exchange(token)


async def test_only_clients_that_an_administrator_registered_for_it_exchange(
    exchanging: Exchanging, oauth: OAuthWorld
) -> None:
    with pytest.raises(InvalidClientMetadata, match="administrator"):
        await oauth.register(
            grant_types=["authorization_code", TOKEN_EXCHANGE], token_endpoint_auth_method="client_secret_post"
        )
    root = Actor("admin@example.com", is_admin=True)
    with pytest.raises(InvalidClientMetadata, match="not none"):
        await oauth.server.registration.register(
            RegisterClient(metadata(grant_types=["authorization_code", TOKEN_EXCHANGE]), root)
        )
    await oauth.register(token_endpoint_auth_method="client_secret_post")
    assert oauth.client is not None
    with pytest.raises(UnauthorizedClient):
        await exchanging.exchange(
            await exchanging.token(), client_id=oauth.client_id, client_secret=oauth.client.client_secret,
            auth_method="client_secret_post",
        )  # fmt: skip


async def test_old_sessions_grants_and_clients_that_nobody_used_are_forgotten(oauth: OAuthWorld, clock: Any) -> None:
    tokens = await oauth.tokens()
    used = oauth.client_id
    await oauth.register()
    clock.advance(31 * 86400)
    await oauth.server.tidy()
    root = await oauth.add("root@example.com", "admin.system_config", admin=True)
    assert used not in {each.client_id for each in (await oauth.server.registration.list(Page(root))).clients}
    with pytest.raises(InvalidClient):
        await oauth.refresh(tokens.refresh_token)
