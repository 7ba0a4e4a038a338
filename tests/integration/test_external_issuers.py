"""A provider's users call tools with its tokens and log in with it; a client of ours hands on a narrower token."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from interlock_auth.testing_provider import CLIENT, SECRET, SUBJECT, Provider, provider
from interlock_common.clock import SYSTEM_CLOCK
from stories.authorizing import CALLBACK, Browser, form_of, question
from stories.clients import mcp_client, text_of
from stories.stage import Stage

ADA, API = "ada-of-corp@example.com", "https://api.example/interlock"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_REFUSED = {401, 503}
ACCESS = "urn:ietf:params:oauth:token-type:access_token"


@dataclass
class Corp:
    """A provider that the deployment knows, and Ada, who is somebody there and here."""

    stage: Stage
    there: Provider

    async def rest(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """Ask without keeping the provider from answering meanwhile: it lives in this process."""
        headers = {"Authorization": f"Bearer {token or self.stage.token}"}
        async with httpx.AsyncClient(base_url=self.stage.deployment.url, headers=headers, timeout=30) as client:
            answer = await client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def name_it(self) -> Any:
        login = {"client_id": CLIENT, "client_secret": SECRET, "title": "Corp"}
        body = {"issuer": self.there.issuer, "audiences": [API], "login": login}
        return await self.rest("PUT", "/issuers/corp", body)

    async def becomes(self, token: str, *, good: bool, seconds: float = 10) -> None:
        """Wait until the token counts, or no more."""
        async with asyncio.timeout(seconds):
            while ((await self.ping(token))[0] in _REFUSED) is good:  # noqa: ASYNC110 - it is up to other processes
                await asyncio.sleep(0.05)

    async def ping(self, token: str) -> tuple[int, str]:
        body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.post(self.stage.mcp, json=body, headers=headers)
        found = re.search(r'"code":"([a-z_]+)"', answer.text)
        return answer.status_code, found[1] if found else ""


@pytest.fixture
async def corp(stage: Stage) -> AsyncGenerator[Corp]:
    async with provider() as there:
        made = Corp(stage, there)
        assert (await made.name_it())["error"] == ""
        if ADA not in {each["name"] for each in await made.rest("GET", "/users")}:
            await made.rest("POST", "/users", {"name": ADA})
            await made.rest("POST", f"/users/{ADA}/roles", {"role": "developer"})
        await made.rest("POST", "/issuers/corp/identities", {"subject": SUBJECT, "principal": ADA})
        yield made
        await made.rest("DELETE", "/issuers/corp")


async def test_a_users_token_of_the_provider_calls_tools_until_the_link_is_taken_back(corp: Corp) -> None:
    token = corp.there.token(aud=API)
    await corp.becomes(token, good=True)
    async with mcp_client(corp.stage.mcp, token) as client:
        assert "hello" in text_of(await client.call_tool("notes-add_note", {"text": "hello"}))
    assert (await corp.rest("GET", "/users/me", token=token))["name"] == ADA
    assert (await corp.ping(corp.there.token(aud="https://other.example")))[0] == 401
    assert (await corp.ping(corp.there.token(aud=API, sub="somebody")))[0] == 401
    await corp.rest("DELETE", f"/issuers/corp/identities?subject={SUBJECT}")
    await corp.becomes(token, good=False)


async def test_a_rotated_key_is_found_and_a_provider_that_is_away_keeps_its_tokens(corp: Corp) -> None:
    corp.there.rotate(keep=False)
    token = corp.there.token(aud=API)
    await corp.becomes(token, good=True, seconds=40)
    corp.there.away = True
    assert (await corp.rest("POST", "/issuers/corp/refresh"))["error"]
    assert (await corp.ping(token))[0] not in _REFUSED
    await corp.rest("DELETE", "/issuers/corp")
    await corp.becomes(token, good=False)
    assert (await corp.ping(token))[1] == "token_issuer"
    corp.there.away = False
    await corp.name_it()


async def test_a_person_logs_in_with_the_provider_and_lets_a_client_in(corp: Corp) -> None:
    url = corp.stage.deployment.url
    metadata: dict[str, Any] = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    client = (await corp.rest("POST", "/oauth/register", metadata))["client_id"]
    browser = Browser(url, ADA, "")
    asked = f"/oauth/authorize?{urlencode(question(client, resource=corp.stage.mcp))}"
    page = await _offered(browser, asked)
    action, form = form_of(page.text, "login/corp")
    away = await asyncio.to_thread(browser.ask, "POST", action, form)
    assert away.status_code == 303, away.text
    back = f"/oauth/callback?{urlencode(corp.there.visit(away.headers['location']))}"
    landed = await asyncio.to_thread(browser.ask, "GET", back)
    assert landed.status_code == 303, landed.text
    consent = await asyncio.to_thread(browser.ask, "GET", landed.headers["location"])
    assert ADA in consent.text
    again = await asyncio.to_thread(Browser(url, ADA, "").ask, "GET", back)
    assert again.status_code == 401


async def test_an_agent_signs_for_a_narrower_token_that_ends_with_the_first(corp: Corp) -> None:
    key, url = ec.generate_private_key(ec.SECP256R1()), corp.stage.deployment.url
    public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "a"}
    registered = await corp.rest("POST", "/oauth/clients", {
        "client_name": "Agent", "grant_types": [EXCHANGE], "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [public]},
    })  # fmt: skip
    agent = registered["client_id"]
    subject = await corp.rest("POST", "/tokens", {"name": "for the agent", "expires_in_days": 1})
    made = iter(range(100))

    def exchange() -> httpx.Response:
        now = int(SYSTEM_CLOCK.time())
        claims = {"iss": agent, "sub": agent, "aud": url, "jti": f"a{next(made)}", "iat": now, "exp": now + 60}
        return httpx.post(f"{url}/oauth/token", timeout=20, data={
            "grant_type": EXCHANGE, "subject_token": subject["token"], "subject_token_type": ACCESS,
            "scope": "tools.read tools.execute", "client_assertion": jwt.encode(claims, key, "ES256", {"kid": "a"}),
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        })  # fmt: skip

    answer = exchange()
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    assert (answer.json()["scope"], answer.json()["issued_token_type"]) == ("tools.read tools.execute", ACCESS)
    async with mcp_client(corp.stage.mcp, token) as client:
        assert "hi" in text_of(await client.call_tool("notes-add_note", {"text": "hi"}))
    await corp.rest("DELETE", f"/tokens/{subject['id']}")
    assert (await corp.ping(token))[0] == 401
    assert exchange().status_code == 400


async def _offered(browser: Browser, asked: str) -> httpx.Response:
    """The login page, once it offers the provider."""
    async with asyncio.timeout(10):
        page = await asyncio.to_thread(browser.ask, "GET", asked)
        while "Log in with Corp" not in page.text:
            await asyncio.sleep(0.05)
            page = await asyncio.to_thread(browser.ask, "GET", asked)
    return page
