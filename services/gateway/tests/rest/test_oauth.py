"""The authorization server as browsers and clients see it, with an auth that answers what a test says."""

import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata  # pyright: ignore[reportMissingTypeStubs]
from fastapi import Request

from interlock_common.errors import InterlockError, InvalidInput, PermissionDenied, TooManyRequests, Unauthenticated
from interlock_common.messages import subjects
from interlock_common.messages.catalog import VirtualServer, server_key
from interlock_common.messages.common import Empty
from interlock_common.messages.oauth import (
    Authorization,
    Authorize,
    BrowserSession,
    Confirmation,
    Introspection,
    IntrospectToken,
    RegisteredClient,
    RevokeGrantedToken,
    TokenAnswer,
    TokenRequest,
)
from interlock_common.testing.clock import ManualClock
from interlock_gateway.certificates.binding import Presented
from interlock_gateway.guard.cookies import CookieRules
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.client_documents import ClientDocuments
from interlock_gateway.rest.dependencies import OAuthFace, RestDependencies
from interlock_gateway.rest.testing import ACTOR, TOKEN, FakeWorld
from interlock_gateway.upstreams.oauth.token_endpoint import Fetched

REDIRECT = "https://client.example/callback?kept=1"
NAME = "<script>alert(1)</script>"
SESSION = "s" * 43
QUERY = {
    "client_id": "c-1", "redirect_uri": REDIRECT, "response_type": "code", "code_challenge": "x" * 43,
    "code_challenge_method": "S256", "scope": "tools.read", "state": "a&b=<c>", "resource": "http://gateway.test/mcp",
}  # fmt: skip
PAGE = Authorization("ada@example.com", NAME, REDIRECT, ("tools.read",))


class Refused(InvalidInput):
    code = "invalid_grant"


class NoClient(Unauthenticated):
    code = "invalid_client"


def dependencies(world: FakeWorld, documents: ClientDocuments | None = None) -> RestDependencies:
    face = OAuthFace(CookieRules(secure=False), clients_register=True, documents=documents)
    return replace(world.dependencies(), oauth=face)


@pytest.fixture
async def browser(world: FakeWorld) -> AsyncGenerator[httpx2.AsyncClient]:
    world.bus.replies = {
        subjects.AUTH_OAUTH_AUTHORIZE: Authorization(client_name=NAME, redirect_uri=REDIRECT),
        subjects.AUTH_OAUTH_LOGIN: BrowserSession(SESSION, "ada@example.com", 600),
        subjects.AUTH_OAUTH_LOGOUT: Empty(),
    }
    transport = httpx2.ASGITransport(create_rest_app(dependencies(world)), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.test") as browser:
        yield browser


def form_of(page: str, where: str) -> tuple[str, dict[str, str]]:
    found = re.search(rf'action="(/oauth/{where}\?[^"]+)"><input type="hidden" name="proof" value="([^"]+)"', page)
    assert found, page
    return unescape(found[1]), {"proof": found[2]}


async def logged_in(world: FakeWorld, browser: httpx2.AsyncClient) -> httpx2.Response:
    """The consent page, as it comes after a login."""
    action, form = form_of((await browser.get("/oauth/authorize", params=QUERY)).text, "login")
    went = await browser.post(action, data={**form, "email": "ada@example.com", "password": "pw"})
    assert went.status_code == 303, went.text
    world.bus.replies[subjects.AUTH_OAUTH_AUTHORIZE] = PAGE
    return await browser.get(went.headers["location"])


def last_asked(world: FakeWorld, kind: type[Any]) -> Any:
    return next(message for _, message in reversed(world.bus.asked) if isinstance(message, kind))


async def test_from_a_login_over_a_decision_back_to_the_client(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    page = await logged_in(world, browser)
    asked = last_asked(world, Authorize)
    assert (asked.session, asked.approved, asked.audience) == (SESSION, None, "http://gateway.example/mcp")
    assert "ada@example.com" in page.text
    action, form = form_of(page.text, "authorize")
    world.bus.replies[subjects.AUTH_OAUTH_AUTHORIZE] = Authorization(redirect_uri=REDIRECT, code="the-code")
    back = await browser.post(action, data={**form, "decision": "allow"})
    assert last_asked(world, Authorize).approved is True
    place = urlsplit(back.headers["location"])
    assert (back.status_code, f"{place.scheme}://{place.netloc}{place.path}") == (
        303,
        "https://client.example/callback",
    )
    assert parse_qs(place.query) == {
        "kept": ["1"], "code": ["the-code"], "state": ["a&b=<c>"], "iss": ["http://gateway.test"],
    }  # fmt: skip


async def test_a_user_may_deny(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    action, form = form_of((await logged_in(world, browser)).text, "authorize")
    world.bus.replies[subjects.AUTH_OAUTH_AUTHORIZE] = Authorization(redirect_uri=REDIRECT, error="access_denied")
    for decision in ("deny", "", "yes", "ALLOW"):
        back = await browser.post(action, data={**form, "decision": decision})
        assert last_asked(world, Authorize).approved is False
        assert parse_qs(urlsplit(back.headers["location"]).query)["error"] == ["access_denied"]


async def test_pages_run_nothing_fit_no_frame_and_escape_what_clients_say(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    login = await browser.get("/oauth/authorize", params=QUERY | {"state": '"><script>'})
    consent = await logged_in(world, browser)
    for page in (login, consent):
        assert "<script" not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "same-origin"
    assert "form-action 'self' https://client.example;" in consent.headers["content-security-policy"]


async def test_cookies_are_for_this_site_only_and_for_no_script(world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_AUTHORIZE] = Authorization()
    transport = httpx2.ASGITransport(create_rest_app(world.dependencies()))
    async with httpx2.AsyncClient(transport=transport, base_url="https://gateway.test") as browser:
        cookie = (await browser.get("/oauth/authorize", params=QUERY)).headers["set-cookie"]
    assert cookie.startswith("__Host-interlock-browser=")
    for part in ("HttpOnly", "SameSite=lax", "Secure", "Path=/"):
        assert part in cookie


async def test_a_login_counts_only_from_its_page_in_its_browser(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    action, form = form_of((await browser.get("/oauth/authorize", params=QUERY)).text, "login")
    who = {"email": "ada@example.com", "password": "pw"}
    for wrong in ({}, {"proof": ""}, {"proof": "0" * 64}, {"proof": "é"}):
        assert (await browser.post(action, data={**who, **wrong})).status_code == 403
    assert (await browser.post("/oauth/login?client_id=other", data=who | form)).status_code == 403
    for site in ("cross-site", "same-site", "none"):
        headers = {"Sec-Fetch-Site": site}
        assert (await browser.post(action, data=who | form, headers=headers)).status_code == 403
    for origin in ("https://evil.example", "null", "http://gateway.test:81", "http://gateway.test.evil.example"):
        assert (await browser.post(action, data=who | form, headers={"Origin": origin})).status_code == 403
    browser.cookies.clear()
    assert (await browser.post(action, data=who | form)).status_code == 403
    assert not [message for subject, message in world.bus.asked if subject == subjects.AUTH_OAUTH_LOGIN]


async def test_a_decision_counts_only_from_its_page_in_its_session(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    page = await logged_in(world, browser)
    action, form = form_of(page.text, "authorize")
    login_proof = form_of(page.text, "logout")[1]
    asked = len(world.bus.asked)
    allow = {"decision": "allow"}
    for wrong in ({}, {"proof": "0" * 64}, login_proof):
        assert (await browser.post(action, data={**allow, **wrong})).status_code == 403
    other = action.replace("tools.read", "tools.execute")
    assert other != action
    assert (await browser.post(other, data={**allow, **form})).status_code == 403
    browser.cookies.set("interlock-session", "t" * 43)
    browser.cookies.delete("interlock-session", domain="gateway.test")
    assert (await browser.post(action, data={**allow, **form})).status_code == 403
    assert len(world.bus.asked) == asked


async def test_a_failed_login_says_so_and_when_to_try_again(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    action, form = form_of((await browser.get("/oauth/authorize", params=QUERY)).text, "login")
    world.bus.replies[subjects.AUTH_OAUTH_LOGIN] = TooManyRequests("too many failed logins", retry_after=77)
    answer = await browser.post(action, data={**form, "email": "a", "password": "secret-pw"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "77")
    assert "too many failed logins" in answer.text
    assert "secret-pw" not in answer.text
    assert "interlock-session" not in answer.headers.get("set-cookie", "")


async def test_a_logout_ends_the_session_on_the_server(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    page = await logged_in(world, browser)
    action, form = form_of(page.text, "logout")
    assert (await browser.post(action, data={"proof": "x"})).status_code == 403
    gone = await browser.post(action, data=form)
    assert gone.status_code == 303
    assert gone.headers["location"].startswith("/oauth/authorize?")
    assert world.bus.asked[-1][0] == subjects.AUTH_OAUTH_LOGOUT
    assert "interlock-session" not in browser.cookies


async def test_a_client_that_is_not_known_leads_nowhere(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_AUTHORIZE] = InvalidInput(f"unknown {NAME}")
    answer = await browser.get("/oauth/authorize", params=QUERY)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "client_id=a&client_id=b", "redirect_uri=a&redirect_uri=b", "a=%ff", "&".join(f"a{n}=1" for n in range(40)),
        "state=" + "x" * 3000, "scope=" + "x" * 9000,
    ],
)  # fmt: skip
async def test_a_request_that_says_two_things_or_too_much_is_not_read(
    world: FakeWorld, browser: httpx2.AsyncClient, query: str
) -> None:
    assert (await browser.get(f"/oauth/authorize?{query}")).status_code == 400
    assert world.bus.asked == []


@pytest.mark.parametrize(
    ("resource", "audience", "server_id"),
    [
        ("", "http://gateway.example/mcp", None), ("http://gateway.test", "http://gateway.example/mcp", None),
        ("http://gateway.test/", "http://gateway.example/mcp", None),
        ("http://gateway.example/mcp", "http://gateway.example/mcp", None),
        ("http://gateway.test/servers/desk/mcp", "http://gateway.example/servers/desk/mcp", "desk"),
        ("http://gateway.test/servers/unknown/mcp", "http://gateway.example/servers/unknown/mcp", "unknown"),
        ("https://own.example.com/mcp", "https://own.example.com/mcp", "own"),
        ("http://gateway.test/servers/own/mcp", "https://own.example.com/mcp", "own"),
        ("http://gateway.test/servers/keyed/mcp", "", None), ("https://evil.example/mcp", "", None),
        ("http://gateway.test.evil.example/mcp", "", None), ("http://gateway.test/servers/../mcp", "", None),
        ("http://gateway.test/servers/desk/mcp/", "", None), ("http://gateway.test/servers/a b/mcp", "", None),
        ("http://gateway.test/mcp#x", "", None), ("none", "", None),
    ],
)  # fmt: skip
async def test_a_resource_is_the_gateway_or_one_of_its_servers(
    world: FakeWorld, browser: httpx2.AsyncClient, resource: str, audience: str, server_id: str | None
) -> None:
    world.catalog.items = {
        server_key(server.id): server
        for server in (
            VirtualServer("desk", "Desk", "ada"), VirtualServer("own", "Own", "a", resource="https://own.example.com/mcp"),
            VirtualServer("keyed", "Keyed", "ada", api_key_only=True),
        )
    }  # fmt: skip
    await browser.get("/oauth/authorize", params=QUERY | {"resource": resource})
    asked = last_asked(world, Authorize)
    assert (asked.audience, asked.server_id) == (audience, server_id)


async def test_the_metadata_are_those_of_rfc_8414(browser: httpx2.AsyncClient) -> None:
    for path in ("oauth-authorization-server", "openid-configuration"):
        said = (await browser.get(f"/.well-known/{path}")).json()
        assert said["issuer"] == "http://gateway.test"
        assert said["code_challenge_methods_supported"] == ["S256"]
        assert said["registration_endpoint"] == "http://gateway.test/oauth/register"
        text = {name: value.replace("http://", "https://") for name, value in said.items() if isinstance(value, str)}
        AuthorizationServerMetadata(said | text).validate()  # pyright: ignore[reportUnknownMemberType]
    assert (await browser.get("/.well-known/oauth-authorization-server/elsewhere")).status_code == 404


async def test_where_clients_do_not_register_no_address_is_named(world: FakeWorld, client: httpx2.AsyncClient) -> None:
    del world
    assert "registration_endpoint" not in (await client.get("/.well-known/oauth-authorization-server")).json()


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, {"client_id": "c"}, ("c", "", "none")),
        ({}, {"client_id": "c", "client_secret": "s"}, ("c", "s", "client_secret_post")),
        ({"Authorization": "Basic YyUzQTE6cyUyQg=="}, {}, ("c:1", "s+", "client_secret_basic")),
        ({"Authorization": "Basic Yzpz"}, {"client_id": "other"}, None),
        ({"Authorization": "Basic Yzpz"}, {"client_secret": "s"}, None),
        ({"Authorization": "Basic !!!"}, {}, None),
        ({"Authorization": "Bearer x"}, {}, None),
    ],
)
async def test_a_client_shows_who_it_is_in_one_way(
    world: FakeWorld, browser: httpx2.AsyncClient, headers: dict[str, str], body: dict[str, str], expected: Any
) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_TOKEN] = TokenAnswer("at", 900, "tools.read", "Bearer", "rt")
    data = {"grant_type": "refresh_token", "refresh_token": "r", "resource": "http://gateway.test/mcp", **body}
    answer = await browser.post("/oauth/token", data=data, headers=headers)
    if expected is None:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        return
    assert answer.json() == {
        "access_token": "at", "expires_in": 900, "scope": "tools.read", "token_type": "Bearer", "refresh_token": "rt",
    }  # fmt: skip
    assert answer.headers["cache-control"] == "no-store"
    asked = last_asked(world, TokenRequest)
    assert (asked.client_id, asked.client_secret, asked.auth_method) == expected
    assert asked.resource == "http://gateway.example/mcp"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refused("the code does not count"), 400, "invalid_grant"),
        (NoClient("no"), 401, "invalid_client"),
        (TooManyRequests("later", retry_after=5), 429, "temporarily_unavailable"),
        (PermissionDenied("no"), 403, "access_denied"),
    ],
)
async def test_refusals_are_in_the_words_of_oauth(
    world: FakeWorld, browser: httpx2.AsyncClient, error: InterlockError, status: int, code: str
) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_TOKEN] = error
    answer = await browser.post("/oauth/token", data={"client_id": "c", "grant_type": "authorization_code"})
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ("retry-after" in answer.headers) == (status == 429)


async def test_the_token_endpoint_takes_bounded_forms_for_resources_of_ours(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    foreign = await browser.post("/oauth/token", data={"client_id": "c", "resource": "https://evil.example/mcp"})
    assert foreign.json()["error"] == "invalid_target"
    for request in (
        browser.post("/oauth/token", json={"client_id": "c"}), browser.post("/oauth/token", data={"code": "x" * 20000}),
        browser.post("/oauth/token", content="code=a&code=b", headers={"Content-Type": _FORM}),
        browser.post("/oauth/revoke", data={"client_id": "c"}),
    ):  # fmt: skip
        answer = await request
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert world.bus.asked == []


_FORM = "application/x-www-form-urlencoded"


async def test_a_token_is_given_back_by_its_client_or_by_its_person(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_REVOKE] = Empty()
    assert (await browser.post("/oauth/revoke", data={"token": "t", "client_id": "c"})).status_code == 200
    assert last_asked(world, RevokeGrantedToken) == RevokeGrantedToken("t", "c", own_url="http://gateway.test")
    await browser.post("/oauth/revoke", data={"token": "t"}, headers={"Authorization": TOKEN})
    assert last_asked(world, RevokeGrantedToken).actor == ACTOR
    bad = await browser.post("/oauth/revoke", data={"token": "t"}, headers={"Authorization": "Bearer bad"})
    assert bad.status_code == 401


_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def test_a_client_that_signs_is_handed_on_with_whom_the_assertion_is_for(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    world.bus.replies |= {
        subjects.AUTH_OAUTH_TOKEN: TokenAnswer("t", 60, "tools.read", "Bearer"), subjects.AUTH_OAUTH_REVOKE: Empty(),
        subjects.AUTH_OAUTH_INTROSPECT: Introspection(active=True),
    }  # fmt: skip
    signed = {"client_assertion": "a.b.c", "client_assertion_type": _ASSERTION, "token": "t"}
    for where, kind in (("token", TokenRequest), ("revoke", RevokeGrantedToken), ("introspect", IntrospectToken)):
        assert (await browser.post(f"/oauth/{where}", data=signed)).status_code == 200
        asked = last_asked(world, kind)
        assert (asked.client_id, asked.client_secret) == ("", "a.b.c")
        assert (asked.auth_method, asked.own_url) == ("private_key_jwt", "http://gateway.test")
    for wrong in ({"client_secret": "s"}, {"client_assertion_type": "x"}, {"client_assertion_type": ""}):
        answer = await browser.post("/oauth/token", data=signed | wrong)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    both = await browser.post("/oauth/token", data=signed, headers={"Authorization": "Basic Yzpz"})
    assert both.status_code == 400


async def test_a_token_exchange_names_one_of_our_resources(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_TOKEN] = TokenAnswer("t", 60, "tools.read", "Bearer", None, "urn:x")
    said = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "s", "client_id": "c",
        "client_secret": "x", "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }  # fmt: skip
    for named in (
        {"resource": "http://gateway.test/servers/s1/mcp"},
        {"audience": "http://gateway.test/servers/s1/mcp"},
    ):
        answer = await browser.post("/oauth/token", data=said | named)
        assert answer.json()["issued_token_type"] == "urn:x"
        asked = last_asked(world, TokenRequest)
        assert (asked.resource, asked.server_id, asked.subject_token) == (
            "http://gateway.example/servers/s1/mcp", "s1", "s",
        )  # fmt: skip
    refused = await browser.post("/oauth/token", data=said | {"audience": "https://elsewhere.example"})
    assert refused.json()["error"] == "invalid_target"


async def test_tokens_are_described_to_nobody_without_a_token(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_INTROSPECT] = Introspection(active=False)
    assert (await browser.post("/oauth/introspect", data={"token": "t"})).status_code == 401
    answer = await browser.post("/oauth/introspect", data={"token": "t"}, headers={"Authorization": TOKEN})
    assert answer.json() == {"active": False}


async def test_clients_are_registered_in_bounds(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    made = RegisteredClient("c", 1, "Desk", (REDIRECT,), ("authorization_code",), ("code",), "none")
    world.bus.replies[subjects.AUTH_OAUTH_REGISTER] = made
    answer = await browser.post("/oauth/register", json={"redirect_uris": [REDIRECT]})
    assert (answer.status_code, answer.json()["client_id"]) == (201, "c")
    assert "client_secret" not in answer.json()
    for content in (b"[]", b"{", b'{"a":' + b"[" * 9000, b'{"a": "' + b"x" * 20000 + b'"}'):
        refused = await browser.post("/oauth/register", content=content)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert (await browser.post("/oauth/clients", json={})).status_code == 401
    assert (await browser.get("/oauth/clients")).status_code == 401
    assert (await browser.delete("/oauth/clients/c")).status_code == 401


# clients that their id describes


class Web:
    """What a client's address leads to, and who asked."""

    def __init__(self, body: bytes = b"{}", status: int = 200) -> None:
        self.answer = Fetched(status, {}, body)
        self.asked: list[str] = []

    async def fetch(self, method: str, url: str, *, what: str) -> Fetched:
        del method, what
        self.asked.append(url)
        return self.answer


async def test_the_certificate_of_the_connection_goes_along_to_where_tokens_are_made(world: FakeWorld) -> None:
    presented = Presented("A" * 43, ("B" * 43,))
    world.bus.replies[subjects.AUTH_OAUTH_TOKEN] = TokenAnswer("a", 900, "tools.read", "Bearer")

    def shown(_request: Request) -> Presented:
        return presented

    app = create_rest_app(replace(dependencies(world), presented=shown))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway.test") as client:
        await client.post("/oauth/token", data={"client_id": "c", "grant_type": "refresh_token"})
        told = (await client.get("/.well-known/oauth-authorization-server")).json()
    asked = last_asked(world, TokenRequest)
    assert (asked.certificate, asked.succeeds) == (presented.thumbprint, presented.succeeds)
    assert told["tls_client_certificate_bound_access_tokens"] is True


async def test_what_a_token_is_bound_to_is_told_as_the_standard_says(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    found = Introspection(active=True, cnf=Confirmation("A" * 43))
    world.bus.replies[subjects.AUTH_OAUTH_INTROSPECT] = found
    answer = await browser.post("/oauth/introspect", data={"token": "t"}, headers={"authorization": TOKEN})
    assert answer.json()["cnf"] == {"x5t#S256": "A" * 43}


async def test_a_document_is_fetched_for_users_only_and_remembered_a_while(world: FakeWorld) -> None:
    web, clock = Web(), ManualClock()
    app = create_rest_app(dependencies(world, ClientDocuments(web, clock)))
    world.bus.replies[subjects.AUTH_OAUTH_AUTHORIZE] = Authorization(wants_document=True)
    query = QUERY | {"client_id": "https://client.example/oauth/client.json"}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway.test") as browser:
        for _ in range(2):
            await browser.get("/oauth/authorize", params=query)
        assert web.asked == ["https://client.example/oauth/client.json"]
        assert last_asked(world, Authorize).document == "{}"
        clock.advance(301)
        await browser.get("/oauth/authorize", params=query)
    assert len(web.asked) == 2


@pytest.mark.parametrize(
    "client_id",
    [
        "http://client.example/a", "https://client.example", "https://client.example/", "https://u@client.example/a",
        "https://client.example/a#b", "https://client.example/a?b", "https://client.example/a/../b", "https:///a",
        "https://client.example:x/a", "https://client.example/" + "a" * 2000, "https://client.example/a b",
    ],
)  # fmt: skip
async def test_addresses_that_describe_no_client_are_not_fetched(client_id: str) -> None:
    web = Web()
    with pytest.raises(InvalidInput):
        await ClientDocuments(web, ManualClock()).of(client_id)
    assert web.asked == []


@pytest.mark.parametrize("web", [Web(status=302), Web(status=404), Web(b"x" * 20000), Web(b"\xff")])
async def test_what_is_no_document_is_refused_and_not_asked_for_again_at_once(web: Web) -> None:
    documents = ClientDocuments(web, ManualClock())
    for _ in range(3):
        with pytest.raises(InvalidInput):
            await documents.of("https://client.example/a")
    assert len(web.asked) == 1
