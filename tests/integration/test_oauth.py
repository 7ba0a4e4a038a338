"""A client of the Python SDK finds out by itself where to get a token, and a user decides in a browser."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from stories.clients import text_of
from stories.stage import Stage

REDIRECT = "http://127.0.0.1:53999/callback"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Browser:
    """Keeps cookies as browsers do on this machine, where they count as sent over a secure connection."""

    base: str
    password: str
    cookies: dict[str, str] = field(default_factory=dict[str, str])

    async def agree(self, url: str, decision: str = "allow") -> dict[str, str]:
        """Log in where asked to, decide, and answer what the client is sent back with."""
        page = await self.ask("GET", url)
        if "/oauth/login?" in page.text:
            action, form = form_of(page.text, "login")
            form |= {"email": "admin@example.com", "password": self.password}
            page = await self.ask("POST", f"{self.base}{action}", form)
            assert page.status_code == 303, page.text
            page = await self.ask("GET", f"{self.base}{page.headers['location']}")
        action, form = form_of(page.text, "authorize")
        back = await self.ask("POST", f"{self.base}{action}", {**form, "decision": decision})
        assert back.status_code == 303, back.text
        assert back.headers["location"].startswith(f"{REDIRECT}?")
        return {name: values[0] for name, values in parse_qs(urlsplit(back.headers["location"]).query).items()}

    async def ask(self, method: str, url: str, form: dict[str, str] | None = None) -> httpx.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.request(method, url, data=form, headers={"Cookie": cookies} if cookies else {})
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer


def form_of(page: str, where: str) -> tuple[str, dict[str, str]]:
    found = re.search(rf'action="(/oauth/{where}\?[^"]+)"><input type="hidden" name="proof" value="([^"]+)"', page)
    assert found, page
    return unescape(found[1]), {"proof": found[2]}


@dataclass
class Storage:
    """Where the SDK keeps what it was given."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.fixture
def browser(stage: Stage) -> Browser:
    return Browser(stage.deployment.url, stage.deployment.state.admin_password.read_text())


def provider(stage: Stage, browser: Browser, storage: Storage) -> OAuthClientProvider:
    sent: list[str] = []

    async def go(url: str) -> None:
        sent.append(url)

    async def come_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(await browser.agree(sent[-1]))

    metadata = OAuthClientMetadata(redirect_uris=[AnyUrl(REDIRECT)], client_name="The SDK")
    return OAuthClientProvider(stage.mcp, metadata, storage, go, come_back)


async def test_the_client_of_the_sdk_goes_through_it(stage: Stage, browser: Browser) -> None:
    storage = Storage()
    async with (
        httpx2.AsyncClient(auth=provider(stage, browser, storage), timeout=30) as http,
        Client(streamable_http_client(stage.mcp, http_client=http)) as client,
    ):
        assert "hello" in text_of(await client.call_tool("notes-add_note", {"text": "hello"}))
    assert storage.tokens
    assert storage.tokens.refresh_token
    assert storage.tokens.scope


def asked(client_id: str, at: str, **also: str) -> str:
    return urlencode({
        "client_id": client_id, "redirect_uri": REDIRECT, "response_type": "code", "code_challenge": CHALLENGE,
        "code_challenge_method": "S256", "scope": "tools.read tools.execute", "state": "s", "resource": at,
    } | also)  # fmt: skip


@dataclass
class Public:
    """A client without a secret, spoken to by hand."""

    base: str
    id: str

    async def token(self, **form: str) -> tuple[int, dict[str, Any]]:
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.post(f"{self.base}/oauth/token", data={"client_id": self.id, **form})
        return answer.status_code, answer.json()

    async def code(self, code: str) -> tuple[int, dict[str, Any]]:
        return await self.token(
            grant_type="authorization_code", code=code, redirect_uri=REDIRECT, code_verifier=VERIFIER
        )

    async def ping(self, token: str, path: str = "/mcp") -> int:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient(timeout=20) as client:
            return (await client.post(f"{self.base}{path}", json=body, headers=headers)).status_code


@pytest.fixture
async def public(stage: Stage) -> Public:
    base = stage.deployment.url
    metadata = {
        "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none", "client_name": "By hand",
        "grant_types": ["authorization_code", "refresh_token"],
    }  # fmt: skip
    async with httpx.AsyncClient(timeout=20) as client:
        made = (await client.post(f"{base}/oauth/register", json=metadata)).raise_for_status().json()
    return Public(base, made["client_id"])


async def test_a_stolen_code_or_refresh_token_ends_what_was_given_at_the_edge(
    stage: Stage, browser: Browser, public: Public
) -> None:
    back = await browser.agree(f"{public.base}/oauth/authorize?{asked(public.id, stage.mcp)}")
    assert (back["state"], back["iss"]) == ("s", public.base)
    status, given = await public.code(back["code"])
    assert status == 200, given
    assert await public.ping(given["access_token"]) != 401
    status, newer = await public.token(grant_type="refresh_token", refresh_token=given["refresh_token"])
    assert status == 200, newer
    status, refused = await public.token(grant_type="refresh_token", refresh_token=given["refresh_token"])
    assert (status, refused["error"]) == (400, "invalid_grant")
    for token in (given["access_token"], newer["access_token"]):
        assert await public.ping(token) == 401
    again = await browser.agree(f"{public.base}/oauth/authorize?{asked(public.id, stage.mcp)}")
    _, given = await public.code(again["code"])
    assert (await public.code(again["code"]))[0] == 400
    assert await public.ping(given["access_token"]) == 401


async def test_a_token_for_one_server_opens_no_other_endpoint(stage: Stage, browser: Browser, public: Public) -> None:
    with stage.deployment.rest(stage.token) as rest:
        server = rest.post("/servers", json={"name": "for-oauth"}).raise_for_status().json()["id"]
    path = f"/servers/{server}/mcp"
    url = f"{public.base}/oauth/authorize?{asked(public.id, f'{public.base}{path}')}"
    _, given = await public.code((await browser.agree(url))["code"])
    assert await public.ping(given["access_token"], path) not in {401, 403}
    assert await public.ping(given["access_token"]) == 401
    with stage.deployment.rest(stage.token) as rest:
        rest.delete(f"/servers/{server}").raise_for_status()


@pytest.mark.parametrize(
    ("also", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"), ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"scope": "root"}, "invalid_scope"), ({"resource": "https://evil.example/mcp"}, "invalid_target"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)  # fmt: skip
async def test_a_client_that_asks_wrongly_is_told_at_its_own_address(
    stage: Stage, browser: Browser, public: Public, also: dict[str, str], error: str
) -> None:
    answer = await browser.ask("GET", f"{public.base}/oauth/authorize?{asked(public.id, stage.mcp, **also)}")
    assert answer.headers["location"].startswith(f"{REDIRECT}?")
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == [error]


async def test_nobody_is_sent_to_an_address_of_somebody_else(stage: Stage, browser: Browser, public: Public) -> None:
    for redirect in ("https://evil.example/", f"{REDIRECT}.evil.example", "javascript:alert(1)"):
        query = asked(public.id, stage.mcp, redirect_uri=redirect)
        answer = await browser.ask("GET", f"{public.base}/oauth/authorize?{query}")
        assert (answer.status_code, "location" in answer.headers) == (400, False)
