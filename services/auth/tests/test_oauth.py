"""The authorization server, story by story: from a client that registers to the end of what it was granted."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from interlock_auth.oauth_errors import (
    ClientUnknown,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    UnauthorizedClient,
)
from interlock_auth.testing_oauth import ADA, CHALLENGE, REDIRECT, RESOURCE, OAuthWorld, claims
from interlock_common.database import transaction
from interlock_common.messages.auth import revocation_key
from interlock_common.messages.oauth import (
    RevokeGrantedToken,
    TokenAnswer,
)
from interlock_common.messages.revocation import Revoke, Selector


def revoked(world: Any, answer: TokenAnswer) -> bool:
    return revocation_key(claims(answer.access_token)["jti"]) in world.outlet.buckets.get("revocations", {})


# the dance


async def test_a_code_becomes_a_token_of_what_was_agreed_to(oauth: OAuthWorld) -> None:
    answer = await oauth.tokens()
    said = claims(answer.access_token)
    assert (said["sub"], said["client_id"], said["teams"]) == (ADA, oauth.client_id, ["red"])
    assert said["scopes"] == {"permissions": ["tools.read", "tools.execute"]}
    assert RESOURCE in said["aud"]
    assert said["exp"] - said["iat"] == answer.expires_in == 900
    assert (answer.scope, answer.token_type) == ("tools.read tools.execute", "Bearer")


async def test_a_resource_that_is_a_virtual_server_limits_the_token_to_it(oauth: OAuthWorld) -> None:
    answer = await oauth.tokens(audience="https://gateway.example/servers/desk/mcp", server_id="desk")
    said = claims(answer.access_token)
    assert said["scopes"]["server_id"] == "desk"
    assert said["aud"] == ["https://gateway.example/servers/desk/mcp"]


async def test_whoever_is_not_logged_in_gets_nothing(oauth: OAuthWorld) -> None:
    answer = await oauth.server.authorizations.authorize(oauth.asked(approved=True, session="x" * 43))
    assert (answer.principal, answer.code, answer.client_name) == ("", "", "Desk")


async def test_a_page_shows_who_asks_for_what_and_gives_nothing(oauth: OAuthWorld) -> None:
    answer = await oauth.server.authorizations.authorize(oauth.asked(session=await oauth.login()))
    assert (answer.principal, answer.client_name, answer.code) == (ADA, "Desk", "")
    assert answer.scopes == ("tools.read", "tools.execute")


async def test_a_user_who_does_not_agree_says_so_to_the_client(oauth: OAuthWorld) -> None:
    request = oauth.asked(session=await oauth.login(), approved=False)
    answer = await oauth.server.authorizations.authorize(request)
    assert (answer.error, answer.code) == ("access_denied", "")


async def test_nothing_in_particular_is_what_mcp_needs_as_far_as_it_is_held(oauth: OAuthWorld) -> None:
    answer = await oauth.tokens(scope="offline_access")
    assert answer.scope == "tools.read tools.execute servers.read"


async def test_a_client_never_gets_what_its_user_does_not_hold(oauth: OAuthWorld) -> None:
    answer = await oauth.tokens(scope="tools.read users.delete admin.system_config")
    assert answer.scope == "tools.read"
    request = oauth.asked(session=await oauth.login(), approved=True, scope="users.delete")
    refused = await oauth.server.authorizations.authorize(request)
    assert (refused.error, refused.code) == ("invalid_scope", "")  # and no token without any limit


@pytest.mark.parametrize(
    ("also", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
        ({"audience": ""}, "invalid_target"),
        ({"scope": "tools.read everything"}, "invalid_scope"),
        ({"scope": "*"}, "invalid_scope"),
        ({"scope": "tools.read " * 1000}, "invalid_scope"),
    ],
)
async def test_what_a_client_asks_wrongly_it_is_told(oauth: OAuthWorld, also: dict[str, Any], error: str) -> None:
    for session in ("", await oauth.login()):
        answer = await oauth.server.authorizations.authorize(oauth.asked(session=session, approved=True, **also))
        assert (answer.error, answer.code, answer.redirect_uri) == (error, "", REDIRECT)


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "", "https://evil.example/callback", f"{REDIRECT}/", f"{REDIRECT}?a=b", f"{REDIRECT}#", f"{REDIRECT}/../x",
        "https://client.example:443/callback", "https://client.example@evil.example/callback", "javascript:alert(1)",
        "https://client.example/Callback", "http://client.example/callback", "https://client.example\\@evil.example/",
        "//evil.example", "/callback", "x" * 3000,
    ],
)  # fmt: skip
async def test_nobody_is_sent_to_an_address_that_was_not_registered(oauth: OAuthWorld, redirect_uri: str) -> None:
    with pytest.raises(ClientUnknown):
        await oauth.server.authorizations.authorize(
            oauth.asked(redirect_uri=redirect_uri, session=await oauth.login(), approved=True, response_type="x")
        )


async def test_an_application_on_the_same_machine_listens_where_it_can(oauth: OAuthWorld) -> None:
    await oauth.register(redirect_uris=["http://127.0.0.1/cb", "http://[::1]:8000/cb", "http://localhost:1/cb"])
    session = await oauth.login()
    for uri in ("http://127.0.0.1:51234/cb", "http://127.0.0.1/cb", "http://[::1]:9/cb", "http://localhost:70/cb"):
        answer = await oauth.server.authorizations.authorize(oauth.asked(redirect_uri=uri, session=session))
        assert answer.redirect_uri == uri
    for uri in (
        "http://127.0.0.1:1/other", "http://127.0.0.2/cb", "https://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.1:1@evil.example/cb", "http://127.0.0.1:99999/cb", "http://evil.example#127.0.0.1/cb",
        "http://127.0.0.1/cb?x=1", "http://127.0.0.1/cb#x",
    ):  # fmt: skip
        with pytest.raises(ClientUnknown):
            await oauth.server.authorizations.authorize(oauth.asked(redirect_uri=uri, session=session))


# codes


@pytest.mark.parametrize(
    "also",
    [
        {"code_verifier": "w" * 64}, {"code_verifier": ""}, {"code_verifier": CHALLENGE}, {"code_verifier": "v" * 200},
        {"redirect_uri": "https://evil.example/"}, {"redirect_uri": ""},
    ],
)  # fmt: skip
async def test_a_code_is_bound_to_what_it_was_asked_with(oauth: OAuthWorld, also: dict[str, Any]) -> None:
    code = await oauth.code()
    with pytest.raises(InvalidGrant):
        await oauth.server.tokens.exchange(oauth.exchange(code, **also))
    with pytest.raises(InvalidGrant):  # a guess is all there is
        await oauth.server.tokens.exchange(oauth.exchange(code))


async def test_a_code_is_bound_to_its_client(oauth: OAuthWorld) -> None:
    code = await oauth.code()
    await oauth.register()
    with pytest.raises(InvalidGrant):
        await oauth.server.tokens.exchange(oauth.exchange(code))


async def test_a_code_is_bound_to_its_resource(oauth: OAuthWorld) -> None:
    code = await oauth.code()
    with pytest.raises(InvalidTarget):
        await oauth.server.tokens.exchange(oauth.exchange(code, resource="https://gateway.example/servers/x/mcp"))


async def test_a_code_counts_for_a_minute(oauth: OAuthWorld, world: Any) -> None:
    code = await oauth.code()
    world.clock.advance(60)
    with pytest.raises(InvalidGrant):
        await oauth.server.tokens.exchange(oauth.exchange(code))


async def test_a_code_that_is_used_again_revokes_what_it_gave(oauth: OAuthWorld, world: Any) -> None:
    code = await oauth.code()
    answer = await oauth.server.tokens.exchange(oauth.exchange(code))
    assert not revoked(world, answer)
    with pytest.raises(InvalidGrant):
        await oauth.server.tokens.exchange(oauth.exchange(code))
    assert revoked(world, answer)
    with pytest.raises(InvalidGrant):
        await oauth.refresh(answer.refresh_token)


async def test_of_two_uses_of_a_code_at_once_none_leaves_a_token(oauth: OAuthWorld, world: Any) -> None:
    request = oauth.exchange(await oauth.code())
    answers = await asyncio.gather(*(oauth.server.tokens.exchange(request) for _ in range(4)), return_exceptions=True)
    given = [answer for answer in answers if isinstance(answer, TokenAnswer)]
    assert len(given) <= 1
    assert all(revoked(world, answer) for answer in given)


async def test_a_code_of_someone_who_is_gone_gives_nothing(oauth: OAuthWorld) -> None:
    code = await oauth.code()
    await oauth.deactivate()
    with pytest.raises(InvalidGrant):
        await oauth.server.tokens.exchange(oauth.exchange(code))


# refreshing


async def test_a_refresh_token_is_replaced_by_each_use(oauth: OAuthWorld) -> None:
    first = await oauth.tokens()
    second = await oauth.refresh(first.refresh_token)
    third = await oauth.refresh(second.refresh_token)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert claims(third.access_token)["aud"] == claims(first.access_token)["aud"]


async def test_a_refresh_token_that_is_used_again_ends_the_family(oauth: OAuthWorld, world: Any) -> None:
    first = await oauth.tokens()
    second = await oauth.refresh(first.refresh_token)
    with pytest.raises(InvalidGrant):
        await oauth.refresh(first.refresh_token)
    assert revoked(world, first)
    assert revoked(world, second)
    with pytest.raises(InvalidGrant):
        await oauth.refresh(second.refresh_token)
    assert ("grant.ended", ADA) in {action[:2] for action in world.outlet.actions}


async def test_of_two_refreshes_at_once_none_leaves_a_token(oauth: OAuthWorld, world: Any) -> None:
    first = await oauth.tokens()
    answers = await asyncio.gather(*(oauth.refresh(first.refresh_token) for _ in range(4)), return_exceptions=True)
    given = [answer for answer in answers if isinstance(answer, TokenAnswer)]
    assert len(given) <= 1
    assert all(revoked(world, answer) for answer in (first, *given))


async def test_a_refresh_may_narrow_the_scope_and_never_widen_it(oauth: OAuthWorld) -> None:
    first = await oauth.tokens()
    narrow = await oauth.refresh(first.refresh_token, scope="tools.read")
    assert narrow.scope == "tools.read"
    for scope in ("tools.read servers.read", "nonsense", "*"):
        with pytest.raises(InvalidScope):
            await oauth.refresh(narrow.refresh_token, scope=scope)
    assert (await oauth.refresh(narrow.refresh_token)).scope == "tools.read tools.execute"


async def test_a_refresh_gives_what_is_still_held(oauth: OAuthWorld) -> None:
    first = await oauth.tokens()
    async with transaction(oauth.engine) as session:
        await session.execute(text("UPDATE principals SET permissions = '[\"tools.read\"]'"))
    second = await oauth.refresh(first.refresh_token)
    assert second.scope == "tools.read"
    async with transaction(oauth.engine) as session:
        await session.execute(text("UPDATE principals SET permissions = '[]'"))
    with pytest.raises(InvalidScope):
        await oauth.refresh(second.refresh_token)


async def test_a_refresh_token_is_bound_to_its_client_and_resource(oauth: OAuthWorld) -> None:
    first = await oauth.tokens()
    with pytest.raises(InvalidTarget):
        await oauth.refresh(first.refresh_token, resource="https://elsewhere.example/mcp")
    await oauth.register()
    with pytest.raises(InvalidGrant):
        await oauth.refresh(first.refresh_token)


async def test_refreshing_has_an_end(oauth: OAuthWorld, world: Any) -> None:
    answer = await oauth.tokens()
    world.clock.advance(30 * 86400 - 100)
    answer = await oauth.refresh(answer.refresh_token)
    assert answer.expires_in == 100
    world.clock.advance(101)
    with pytest.raises(InvalidGrant):
        await oauth.refresh(answer.refresh_token)


async def test_a_client_that_did_not_register_for_it_does_not_refresh(oauth: OAuthWorld) -> None:
    kept = (await oauth.tokens()).refresh_token
    await oauth.register(grant_types=["authorization_code"])
    assert (await oauth.tokens()).refresh_token is None
    with pytest.raises(UnauthorizedClient):
        await oauth.refresh(kept)


async def test_a_revoked_access_token_ends_its_family(oauth: OAuthWorld, world: Any) -> None:
    answer = await oauth.tokens()
    await oauth.server.inspection.revoke(RevokeGrantedToken(answer.access_token, oauth.client_id))
    assert revoked(world, answer)
    with pytest.raises(InvalidGrant):
        await oauth.refresh(answer.refresh_token)


async def test_a_family_is_a_session_that_can_be_revoked(oauth: OAuthWorld, world: Any) -> None:
    admin = await world.administrator()
    answer, other = await oauth.tokens(), await oauth.tokens()
    session = claims(answer.access_token)["sid"]
    assert session != claims(other.access_token)["sid"]
    world.clock.advance(1)
    await world.selectors.revoke(Revoke(admin, Selector("session", session)))
    with pytest.raises(InvalidGrant):
        await oauth.refresh(answer.refresh_token)
    assert claims((await oauth.refresh(other.refresh_token)).access_token)["sid"] != session


async def test_revoking_all_of_a_user_ends_their_grants_and_browsers_too(oauth: OAuthWorld, world: Any) -> None:
    admin = await world.administrator()
    session = await oauth.login()
    answer, code = await oauth.tokens(), await oauth.code()
    world.clock.advance(1)
    await world.selectors.revoke(Revoke(admin, Selector("user", ADA)))
    with pytest.raises(InvalidGrant):
        await oauth.refresh(answer.refresh_token)
    with pytest.raises(InvalidGrant):
        await oauth.server.tokens.exchange(oauth.exchange(code))
    assert await oauth.server.sessions.principal(session) is None
    world.clock.advance(1)
    assert await oauth.tokens()
