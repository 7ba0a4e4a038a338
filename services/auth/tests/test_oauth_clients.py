"""Clients of the authorization server, the browsers of their users, and who may ask about tokens."""

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
    InvalidRedirectUri,
    InvalidRequest,
    RegistrationOff,
    RegistrationsSaturated,
    UnsupportedGrantType,
)
from interlock_auth.testing_oauth import ADA, RESOURCE, VERIFIER, OAuthWorld, claims, metadata
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

EVE = "eve@example.com"


def revoked(world: Any, answer: TokenAnswer) -> bool:
    return revocation_key(claims(answer.access_token)["jti"]) in world.outlet.buckets.get("revocations", {})


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
