"""Logging in with a provider and naming issuers, with an auth that answers what a test says."""

import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest

from interlock_common.errors import Unauthenticated
from interlock_common.messages import subjects
from interlock_common.messages.common import Empty
from interlock_common.messages.issuers import (
    FinishProviderLogin,
    Identity,
    IdentityList,
    Issuer,
    IssuerList,
    IssuerSettings,
    LinkIdentity,
    LoginOffer,
    LoginSettings,
    ProviderLogin,
    ProviderSession,
    SetIssuer,
    StartProviderLogin,
    TrustedIssuer,
    UnlinkIdentity,
)
from interlock_common.messages.oauth import Authorization
from interlock_gateway.guard.cookies import CookieRules, SameSite
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.dependencies import OAuthFace
from interlock_gateway.rest.testing import TOKEN, FakeView, FakeWorld

QUERY = {"client_id": "c-1", "state": "a&b"}
AWAY = "https://idp.example/authorize?client_id=x"
TITLE = "<b>Corp</b>"
BEARER = {"Authorization": TOKEN}


def client(world: FakeWorld, same_site: SameSite = "lax") -> httpx2.AsyncClient:
    issuers = FakeView({
        "a": TrustedIssuer("corp", "https://idp.example", login=LoginOffer(TITLE, "https://idp.example")),
        "b": TrustedIssuer("api", "https://api.example", ("x",)),
    })  # fmt: skip
    face = OAuthFace(CookieRules(secure=False, same_site=same_site))
    app = create_rest_app(replace(world.dependencies(), oauth=face, issuers=issuers))
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://gateway.test")


@pytest.fixture
async def browser(world: FakeWorld) -> AsyncGenerator[httpx2.AsyncClient]:
    world.bus.replies = {
        subjects.AUTH_OAUTH_AUTHORIZE: Authorization(),
        subjects.AUTH_PROVIDER_START: ProviderLogin(AWAY),
        subjects.AUTH_PROVIDER_FINISH: ProviderSession("s" * 43, "ada@example.com", 600, "client_id=c-1&state=a%26b"),
    }
    async with client(world) as made:
        yield made


async def button(browser: httpx2.AsyncClient) -> tuple[str, dict[str, str]]:
    page = await browser.get("/oauth/authorize", params=QUERY)
    assert "&lt;b&gt;Corp" in page.text
    assert "api" not in page.text
    assert "form-action 'self' https://idp.example;" in page.headers["content-security-policy"]
    found = re.search(
        r'action="(/oauth/login/corp\?[^"]+)"><input type="hidden" name="proof" value="([^"]+)"', page.text
    )
    assert found
    return unescape(found[1]), {"proof": found[2]}


def last(world: FakeWorld, kind: type[Any]) -> Any:
    return next(message for _, message in reversed(world.bus.asked) if isinstance(message, kind))


async def test_a_browser_goes_to_the_provider_and_comes_back_logged_in(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    action, form = await button(browser)
    went = await browser.post(action, data=form)
    assert (went.status_code, went.headers["location"]) == (303, AWAY)
    asked = last(world, StartProviderLogin)
    assert (asked.name, asked.callback) == ("corp", "http://gateway.test/oauth/callback")
    assert parse_qs(asked.query) == {"client_id": ["c-1"], "state": ["a&b"]}
    back = await browser.get("/oauth/callback", params={"state": "st", "code": "co", "iss": "https://idp.example"})
    assert (back.status_code, back.headers["location"]) == (303, "/oauth/authorize?client_id=c-1&state=a%26b")
    assert "interlock-session=" + "s" * 43 in back.headers["set-cookie"]
    assert last(world, FinishProviderLogin) == FinishProviderLogin("st", asked.browser, "co", "https://idp.example")


async def test_a_login_begins_only_from_its_button_in_its_browser(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    action, form = await button(browser)
    assert (await browser.post(action.replace("corp", "other"), data=form)).status_code == 403
    assert (await browser.post("/oauth/login/corp?x=1", data=form)).status_code == 403
    assert (await browser.post(action, data={"proof": ""})).status_code == 403
    assert (await browser.post(action, data=form, headers={"Origin": "https://evil.example"})).status_code == 403
    browser.cookies.clear()
    assert (await browser.post(action, data=form)).status_code == 403
    assert not [message for _, message in world.bus.asked if isinstance(message, StartProviderLogin)]


async def test_a_login_that_the_provider_refuses_says_why_and_sets_nothing(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    world.bus.replies[subjects.AUTH_PROVIDER_FINISH] = Unauthenticated("nobody here is <linked>")
    back = await browser.get("/oauth/callback", params={"state": "st", "error": "access_denied"})
    assert back.status_code == 401
    assert "&lt;linked&gt;" in back.text
    assert "set-cookie" not in back.headers
    assert last(world, FinishProviderLogin).error == "access_denied"


async def test_strict_cookies_come_with_a_second_step_of_our_own(world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_PROVIDER_FINISH] = Unauthenticated("another browser")
    async with client(world, "strict") as browser:
        first = await browser.get("/oauth/callback", params={"state": '"><x', "code": "c"})
        assert first.status_code == 200
        found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', first.text)
        assert found
        assert world.bus.asked == []
        assert (await browser.get(unescape(found[1]))).status_code == 401
        assert last(world, FinishProviderLogin).state == '"><x'


async def test_without_providers_the_login_page_leads_nowhere_else(world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_OAUTH_AUTHORIZE] = Authorization()
    transport = httpx2.ASGITransport(create_rest_app(world.dependencies()))
    async with httpx2.AsyncClient(transport=transport, base_url="https://gateway.test") as browser:
        page = await browser.get("/oauth/authorize", params=QUERY)
    assert "form-action 'self';" in page.headers["content-security-policy"]
    assert "Log in with" not in page.text


SETTINGS = IssuerSettings(
    "corp", "https://idp.example", ("https://gateway.example/mcp",), login=LoginSettings("c", "s")
)
SHOWN = Issuer(SETTINGS, from_file=False, keys=("k",), keys_read_at=1, keys_until=2, error="")


async def test_issuers_are_named_shown_and_removed(world: FakeWorld, browser: httpx2.AsyncClient) -> None:
    world.bus.replies |= {
        subjects.AUTH_ISSUER_SET: SHOWN, subjects.AUTH_ISSUER_GET: SHOWN, subjects.AUTH_ISSUER_DELETE: Empty(),
        subjects.AUTH_ISSUER_LIST: IssuerList((SHOWN,)), subjects.AUTH_ISSUER_REFRESH: SHOWN,
    }  # fmt: skip
    body: dict[str, Any] = {
        "issuer": "https://idp.example", "audiences": ["https://gateway.example/mcp"], "accounts": "mapped",
        "claims": {"roles_claim": "roles", "roles": {"dev": "developer"}},
        "login": {"client_id": "c", "client_secret": "s"},
    }  # fmt: skip
    made = await browser.put("/issuers/corp", json=body, headers=BEARER)
    assert made.status_code == 200, made.text
    said = last(world, SetIssuer).settings
    assert (said.name, said.accounts, said.claims.roles, said.login) == (
        "corp", "mapped", {"dev": "developer"}, LoginSettings("c", "s"),
    )  # fmt: skip
    assert made.json()["keys"] == ["k"]
    mistakes: list[Any] = [{"audience": ["x"]}, {"accounts": "all"}, {"claims": {"role": {}}}, {"login": {"s": "x"}}]
    for wrong in mistakes:
        assert (await browser.put("/issuers/corp", json=body | wrong, headers=BEARER)).status_code in {400, 422}
    assert (await browser.get("/issuers", headers=BEARER)).json()[0]["settings"]["name"] == "corp"
    assert (await browser.get("/issuers/corp", headers=BEARER)).status_code == 200
    assert (await browser.post("/issuers/corp/refresh", headers=BEARER)).status_code == 200
    assert (await browser.delete("/issuers/corp", headers=BEARER)).json() == {"status": "removed"}
    assert (await browser.get("/issuers")).status_code == 401


async def test_identities_are_linked_and_unlinked_by_their_subject(
    world: FakeWorld, browser: httpx2.AsyncClient
) -> None:
    identity = Identity("https://idp.example", "a/b", "ada@example.com", "root@example.com", 1)
    world.bus.replies |= {
        subjects.AUTH_IDENTITY_LINK: identity, subjects.AUTH_IDENTITY_UNLINK: Empty(),
        subjects.AUTH_IDENTITY_LIST: IdentityList((identity,), "a/b"),
    }  # fmt: skip
    body = {"subject": "a/b", "principal": "ada@example.com"}
    assert (await browser.post("/issuers/corp/identities", json=body, headers=BEARER)).status_code == 201
    assert last(world, LinkIdentity).subject == "a/b"
    listed = await browser.get("/issuers/corp/identities", headers=BEARER)
    assert "cursor=a" in listed.headers["link"]
    gone = await browser.delete("/issuers/corp/identities", params={"subject": "a/b"}, headers=BEARER)
    assert gone.status_code == 200
    assert last(world, UnlinkIdentity).subject == "a/b"
