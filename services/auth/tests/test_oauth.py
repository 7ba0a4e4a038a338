"""The authorization server, story by story: from a client that registers to the end of what it was granted."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from interlock_auth.errors import LoginRefused, NotContained
from interlock_auth.oauth import AuthorizationServer, OAuthRules
from interlock_auth.oauth_errors import (
    ClientNotFound,
    ClientUnknown,
    InvalidClient,
    InvalidClientMetadata,
    InvalidGrant,
    InvalidRedirectUri,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    RegistrationOff,
    RegistrationsSaturated,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from interlock_auth.oauth_registration import RegistrationRules
from interlock_auth.testing_oauth import ADA, CHALLENGE, REDIRECT, RESOURCE, VERIFIER, OAuthWorld, claims, metadata
from interlock_common.database import transaction
from interlock_common.messages.auth import revocation_key
from interlock_common.messages.common import Actor, ById, Page
from interlock_common.messages.oauth import (
    EndSession,
    Introspection,
    IntrospectToken,
    RegisterClient,
    RevokeGrantedToken,
    StartSession,
    TokenAnswer,
)
from interlock_common.messages.revocation import Revoke, Selector

EVE = "eve@example.com"
RULES = OAuthRules(registration=RegistrationRules(dynamic=True, most=5, per_minute=3))


@pytest.fixture
async def oauth(world: Any) -> OAuthWorld:
    server = AuthorizationServer(
        world.engine, world.principals, world.mint, world.revocations, world.outlet, RULES, world.clock
    )
    made = OAuthWorld(world.engine, world.passwords, server, RULES)
    await made.add()
    await made.register()
    return made


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


# clients


@pytest.mark.parametrize(
    ("method", "shown", "wrong"),
    [
        ("client_secret_basic", "client_secret_basic", "client_secret_post"),
        ("client_secret_post", "client_secret_post", "none"),
    ],
)
async def test_a_client_with_a_secret_shows_it(oauth: OAuthWorld, method: str, shown: str, wrong: str) -> None:
    client = await oauth.register(token_endpoint_auth_method=method)
    assert client.client_secret
    code = await oauth.code()
    for secret, how in (("", "none"), (client.client_secret, wrong), ("x" + client.client_secret, shown), ("", shown)):
        with pytest.raises(InvalidClient):
            await oauth.server.tokens.exchange(oauth.exchange(code, client_secret=secret, auth_method=how))
    right = oauth.exchange(code, client_secret=client.client_secret, auth_method=shown)
    assert (await oauth.server.tokens.exchange(right)).access_token


async def test_unknown_clients_and_grant_types_are_refused(oauth: OAuthWorld) -> None:
    with pytest.raises(InvalidClient):
        await oauth.server.tokens.exchange(oauth.exchange("c", client_id="nobody"))
    for grant_type in ("password", "client_credentials", "implicit", ""):
        with pytest.raises(UnsupportedGrantType):
            await oauth.server.tokens.exchange(oauth.exchange("c", grant_type=grant_type))
    for request in (
        oauth.exchange(""), oauth.exchange("x" * 5000), oauth.exchange("c", grant_type="refresh_token"),
    ):  # fmt: skip
        with pytest.raises(InvalidRequest):
            await oauth.server.tokens.exchange(request)


@pytest.mark.parametrize(
    "also",
    [
        {"redirect_uris": []}, {"redirect_uris": ["http://client.example/"]}, {"redirect_uris": ["/cb"]},
        {"redirect_uris": ["javascript:alert(1)"]}, {"redirect_uris": ["https://a.example/#x"]},
        {"redirect_uris": ["data:text/html,x"]},
        {"redirect_uris": ["https://*.example/"]}, {"redirect_uris": ["https://u@a.example/"]},
        {"redirect_uris": ["https://a.example/ b"]}, {"redirect_uris": ["https:///x"]},
        {"redirect_uris": ["https://a.example/" + "x" * 3000]}, {"redirect_uris": ["https://a.example/"] * 11},
        {"redirect_uris": ["file:///etc/passwd"]}, {"redirect_uris": ["https://a.example:x/"]},
    ],
)  # fmt: skip
async def test_addresses_that_a_client_may_not_have(oauth: OAuthWorld, also: dict[str, Any]) -> None:
    with pytest.raises(InvalidRedirectUri):
        await oauth.server.registration.register(RegisterClient(metadata(**also)))


@pytest.mark.parametrize(
    "also",
    [
        {"redirect_uris": "https://a.example/"}, {"redirect_uris": [1]}, {"grant_types": ["implicit"]},
        {"grant_types": ["refresh_token"]}, {"grant_types": None}, {"response_types": ["token"]},
        {"response_types": 7}, {"token_endpoint_auth_method": "private_key_jwt"}, {"client_name": "x" * 20000},
        {"client_uri": "javascript:alert(1)"}, {"contacts": "me"}, {"jwks": {"keys": [1]}}, {"jwks_uri": 7},
    ],
)  # fmt: skip
async def test_metadata_that_a_client_may_not_have(oauth: OAuthWorld, also: dict[str, Any]) -> None:
    for _ in range(2):  # what the library checks, it checks each time
        with pytest.raises(InvalidClientMetadata):
            await oauth.server.registration.register(RegisterClient(metadata(**also)))


async def test_applications_have_schemes_of_their_own(oauth: OAuthWorld) -> None:
    uris = ["com.example.app:/callback", "cursor://anysphere.cursor-retrieval/oauth/callback"]
    assert (await oauth.register(redirect_uris=uris)).redirect_uris == tuple(uris)


async def test_a_name_is_one_line_of_printable_text(oauth: OAuthWorld) -> None:
    client = await oauth.register(client_name="  Bank\u202egpj.\n\x00 desk" + "y" * 300)
    assert client.client_name.startswith("Bank gpj. desky")
    assert len(client.client_name) == 100


async def test_registering_is_bounded_by_the_minute_and_in_all(oauth: OAuthWorld, world: Any) -> None:
    await oauth.register()
    await oauth.register()
    with pytest.raises(RegistrationsSaturated) as soon:
        await oauth.register()
    assert soon.value.fields["retry_after"] == 60
    world.clock.advance(61)
    await oauth.register()
    used = await oauth.register()
    await oauth.tokens()
    world.clock.advance(61)
    with pytest.raises(RegistrationsSaturated):
        await oauth.register()
    world.clock.advance(86400)
    await oauth.register()  # those that nobody used have made room
    listed = await oauth.server.registration.list(Page(await world.administrator()))
    assert used.client_id in {client.client_id for client in listed.clients}
    assert len(listed.clients) == 2


async def test_clients_do_not_register_themselves_where_that_is_off(world: Any) -> None:
    server = AuthorizationServer(
        world.engine, world.principals, world.mint, world.revocations, world.outlet, OAuthRules(), world.clock
    )
    with pytest.raises(RegistrationOff):
        await server.registration.register(RegisterClient(metadata()))
    assert (await server.registration.register(RegisterClient(metadata(), await world.administrator()))).client_id


async def test_clients_are_managed_by_administrators(oauth: OAuthWorld, world: Any) -> None:
    registration, admin = oauth.server.registration, await world.administrator()
    ada = Actor(ADA, is_admin=True, permissions=("*",))
    for refused in (
        registration.register(RegisterClient(metadata(), ada)), registration.list(Page(ada)),
        registration.remove(ById(ada, oauth.client_id)),
    ):  # fmt: skip
        with pytest.raises(NotContained):
            await refused
    answer = await oauth.tokens()
    await registration.remove(ById(admin, oauth.client_id))
    assert revoked(world, answer)
    with pytest.raises(InvalidClient):
        await oauth.refresh(answer.refresh_token)
    with pytest.raises(ClientNotFound):
        await registration.remove(ById(admin, oauth.client_id))


async def test_clients_are_listed_in_pages(oauth: OAuthWorld, world: Any) -> None:
    admin = await world.administrator()
    await oauth.register()
    await oauth.register()
    first = await oauth.server.registration.list(Page(admin, limit=2))
    second = await oauth.server.registration.list(Page(admin, first.next_cursor, limit=2))
    assert len({client.client_id for client in (*first.clients, *second.clients)}) == 3
    assert second.next_cursor is None


# clients that their id describes

DOCUMENT_ID = "https://client.example/oauth/client.json"


def document(**also: Any) -> str:
    return bytes(metadata(**({"client_id": DOCUMENT_ID} | also))).decode()


async def test_a_document_describes_a_client(oauth: OAuthWorld) -> None:
    authorize = oauth.server.authorizations.authorize
    assert not (await authorize(oauth.asked(client_id=DOCUMENT_ID))).wants_document  # nothing is fetched for strangers
    session = await oauth.login()
    assert (await authorize(oauth.asked(client_id=DOCUMENT_ID, session=session))).wants_document
    asked = oauth.asked(client_id=DOCUMENT_ID, session=session, document=document(), approved=True)
    answer = await authorize(asked)
    assert answer.client_name == "Desk (client.example)"
    given = await oauth.server.tokens.exchange(oauth.exchange(answer.code, client_id=DOCUMENT_ID))
    assert claims(given.access_token)["client_id"] == DOCUMENT_ID
    assert (await oauth.refresh(given.refresh_token, client_id=DOCUMENT_ID)).access_token


@pytest.mark.parametrize(
    "wrong",
    [
        document(client_id=""), document(client_id="https://evil.example/client.json"), document(client_secret="s"),
        document(token_endpoint_auth_method="client_secret_post"), document(redirect_uris=["https://x.example/"]),
        "[]", "<html>", "[" * 20_000, "[" * 15_000, json.dumps([[]] * 9000),
    ],
)  # fmt: skip
async def test_a_document_must_be_about_its_own_client(oauth: OAuthWorld, wrong: str) -> None:
    asked = oauth.asked(client_id=DOCUMENT_ID, session=await oauth.login(), document=wrong, approved=True)
    with pytest.raises(ClientUnknown):
        await oauth.server.authorizations.authorize(asked)


# browsers


async def test_a_session_ends_when_it_is_not_used_and_at_last(oauth: OAuthWorld, world: Any) -> None:
    idle = await oauth.login()
    used = await oauth.login()
    for _ in range(16):
        world.clock.advance(1799)
        assert await oauth.server.sessions.principal(used)
    assert await oauth.server.sessions.principal(idle) is None
    world.clock.advance(100)
    assert await oauth.server.sessions.principal(used) is None


async def test_a_logout_counts_on_the_server(oauth: OAuthWorld) -> None:
    session = await oauth.login()
    await oauth.server.sessions.logout(EndSession(session))
    assert await oauth.server.sessions.principal(session) is None
    await oauth.server.sessions.logout(EndSession(session))


async def test_a_session_of_someone_who_is_gone_counts_no_more(oauth: OAuthWorld) -> None:
    session = await oauth.login()
    await oauth.deactivate()
    assert await oauth.server.sessions.principal(session) is None


async def test_each_login_makes_a_session_of_its_own(oauth: OAuthWorld) -> None:
    assert await oauth.login() != await oauth.login()
    with pytest.raises(LoginRefused):
        await oauth.server.sessions.login(StartSession(ADA, "wrong"))


# revoking and asking


async def test_a_refresh_token_that_is_given_back_ends_everything(oauth: OAuthWorld, world: Any) -> None:
    answer = await oauth.tokens()
    assert answer.refresh_token
    mine = oauth.client_id
    await oauth.register()
    await oauth.server.inspection.revoke(RevokeGrantedToken(answer.refresh_token, oauth.client_id))  # not its own
    assert not revoked(world, answer)
    await oauth.server.inspection.revoke(RevokeGrantedToken(answer.refresh_token, mine))
    assert revoked(world, answer)


async def test_only_a_client_that_shows_who_it_is_gives_back(oauth: OAuthWorld) -> None:
    with pytest.raises(InvalidClient):
        await oauth.server.inspection.revoke(RevokeGrantedToken("x"))
    await oauth.server.inspection.revoke(RevokeGrantedToken("no token at all", oauth.client_id))


async def test_people_give_back_their_own(oauth: OAuthWorld, world: Any) -> None:
    answer = await oauth.tokens()
    eve = await oauth.add(EVE)
    ada = Actor(ADA, teams=("red",), permissions=("tools.read",))
    for token in (answer.access_token, answer.refresh_token or ""):
        await oauth.server.inspection.revoke(RevokeGrantedToken(token, actor=eve))
    assert not revoked(world, answer)
    await oauth.server.inspection.revoke(RevokeGrantedToken(answer.refresh_token or "", actor=ada))
    assert revoked(world, answer)


async def test_tokens_are_described_to_those_who_may_know(oauth: OAuthWorld, world: Any) -> None:
    answer = await oauth.tokens()
    ada = Actor(ADA, teams=("red",), permissions=("tokens.read",))
    ask: Callable[..., Any] = oauth.server.inspection.introspect
    told = await ask(IntrospectToken(answer.access_token, ada))
    assert (told.active, told.client_id, told.scope, told.sub) == (True, oauth.client_id, answer.scope, ADA)
    assert told.aud == RESOURCE
    refresh = await ask(IntrospectToken(answer.refresh_token or "", ada))
    assert (refresh.active, refresh.token_type) == (True, "refresh_token")
    eve = await oauth.add(EVE)
    for token in (answer.access_token, answer.refresh_token or "", "nothing", ""):
        assert await ask(IntrospectToken(token, eve)) == Introspection(active=False)
    with pytest.raises(NotContained):
        await ask(IntrospectToken(answer.access_token, msgspec.structs.replace(eve, permissions=("tools.read",))))
    admin = await world.administrator()
    assert (await ask(IntrospectToken(answer.access_token, admin))).active
    await oauth.server.inspection.revoke(RevokeGrantedToken(answer.refresh_token or "", oauth.client_id))
    for token in (answer.access_token, answer.refresh_token or ""):
        assert not (await ask(IntrospectToken(token, ada))).active


async def test_a_token_that_has_expired_is_not_active(oauth: OAuthWorld, world: Any) -> None:
    answer = await oauth.tokens()
    world.clock.advance(901)
    ada = Actor(ADA, teams=("red",), permissions=("tokens.read",))
    assert not (await oauth.server.inspection.introspect(IntrospectToken(answer.access_token, ada))).active


async def test_nothing_that_opens_something_is_kept_or_told(oauth: OAuthWorld, world: Any) -> None:
    client = await oauth.register(token_endpoint_auth_method="client_secret_post")
    session = await oauth.login()
    code = await oauth.code(session=session)
    request = oauth.exchange(code, client_secret=client.client_secret, auth_method="client_secret_post")
    answer = await oauth.server.tokens.exchange(request)
    secrets = (client.client_secret, session, code, answer.access_token, answer.refresh_token, VERIFIER)
    kept: list[str] = []
    async with transaction(oauth.engine) as open_session:
        for table in ("clients", "sessions", "grants", "codes", "refresh_tokens", "access_tokens"):
            rows = await open_session.execute(text(f"SELECT * FROM oauth_{table}"))  # noqa: S608 - our own names
            kept += [str(tuple(row)) for row in rows]
    kept.append(str(world.outlet.actions) + str(world.outlet.events))
    assert not [secret for secret in secrets if secret and any(secret in row for row in kept)]
