import re
from collections.abc import AsyncGenerator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import pytest

from interlock_common.messages import subjects
from interlock_common.messages.catalog import CreateUpstream, Credential, Upstream, upstream_key
from interlock_common.messages.grants import GrantList, GrantSummary
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import ACTOR, FakeWorld
from interlock_gateway.testing.oauth import AuthorizationServer, ProtectedUpstream
from interlock_gateway.testing.servers import upstream_at

NAME = "<script>alert(1)</script>"


@pytest.fixture
async def server(serve: Any) -> AuthorizationServer:
    server = AuthorizationServer()
    server.issuer = (await serve(server)).removesuffix("/mcp")
    return server


@pytest.fixture
async def upstream(world: FakeWorld, server: AuthorizationServer, serve: Any) -> AsyncGenerator[Upstream]:
    url = await serve(ProtectedUpstream(server))
    made = upstream_at(url, credential=Credential("oauth"), name=NAME, reachable=False)
    world.catalog.items = {upstream_key("u1"): made}
    yield made
    await world.endpoints.close()


@pytest.fixture
async def browser(world: FakeWorld) -> AsyncGenerator[httpx2.AsyncClient]:
    """A browser that has no token of ours."""
    transport = httpx2.ASGITransport(create_rest_app(world.dependencies()), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway.example") as browser:
        yield browser


def page_of(world: FakeWorld, upstream: Upstream, principal: str = "ada@example.com") -> str:
    return world.consents.link(upstream, principal)[0]


def form_of(page: str) -> tuple[str, dict[str, str]]:
    action = re.search(r'action="([^"]+)"', page)
    proof = re.search(r'name="proof" value="([^"]+)"', page)
    assert action
    assert proof
    return unescape(action.group(1)), {"proof": proof.group(1)}


async def test_a_user_confirms_on_a_page_and_comes_back_to_one(
    world: FakeWorld, server: AuthorizationServer, upstream: Upstream, browser: httpx2.AsyncClient
) -> None:
    page = await browser.get(page_of(world, upstream))
    assert page.status_code == 200
    assert "ada@example.com" in page.text
    sent = await browser.post(form_of(page.text)[0], data=form_of(page.text)[1])
    assert sent.status_code == 303
    assert sent.headers["location"].startswith(f"{server.issuer}/authorize?")
    back = server.visit(sent.headers["location"])
    done = await browser.get("/oauth/upstreams/callback", params=back)
    assert done.status_code == 200
    assert "Done" in done.text
    assert ("u1", "ada@example.com") in world.grants.kept
    assert not [token for token in (*server.access, *server.refresh) if token in done.text]


async def test_pages_run_no_scripts_fit_no_frames_and_escape_what_others_wrote(
    world: FakeWorld, upstream: Upstream, browser: httpx2.AsyncClient
) -> None:
    shown = await browser.get(page_of(world, upstream, NAME))
    refused = await browser.get("/oauth/upstreams/callback", params={"state": NAME, "error": NAME})
    assert refused.status_code == 400
    for page in (shown, refused):
        assert "<script" not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
    cookie = shown.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/oauth/upstreams" in cookie


async def test_opening_a_page_changes_nothing(
    world: FakeWorld, server: AuthorizationServer, upstream: Upstream, browser: httpx2.AsyncClient
) -> None:
    url = page_of(world, upstream)
    first, second = await browser.get(url), await browser.get(url)
    assert first.text == second.text
    assert not server.asked


async def test_a_confirmation_counts_only_from_its_page_in_its_browser(
    world: FakeWorld, server: AuthorizationServer, upstream: Upstream, browser: httpx2.AsyncClient
) -> None:
    url = page_of(world, upstream)
    assert (await browser.post(url, data={"proof": "x"})).status_code == 400
    page = await browser.get(url)
    action, form = form_of(page.text)
    other = form_of((await browser.get(page_of(world, upstream, "eve@example.com"))).text)[1]
    for data in ({"proof": ""}, {}, other):
        assert (await browser.post(action, data=data)).status_code == 400
    browser.cookies.clear()
    assert (await browser.post(action, data=form)).status_code == 400
    assert not server.asked


async def test_an_answer_in_another_browser_gives_nobody_anything(
    world: FakeWorld, server: AuthorizationServer, upstream: Upstream, browser: httpx2.AsyncClient
) -> None:
    page = await browser.get(page_of(world, upstream))
    sent = await browser.post(form_of(page.text)[0], data=form_of(page.text)[1])
    back = server.visit(sent.headers["location"])
    browser.cookies.clear()
    refused = await browser.get("/oauth/upstreams/callback", params=back)
    assert refused.status_code == 400
    assert "not to this browser" in refused.text
    assert ("u1", "ada@example.com") not in world.grants.kept


async def test_registering_what_needs_consent_answers_where_to_give_it(
    world: FakeWorld, upstream: Upstream, client: httpx2.AsyncClient
) -> None:
    world.bus.replies[subjects.CATALOG_UPSTREAM_CREATE] = upstream
    body = {"name": "n", "url": upstream.url, "credential": {"kind": "oauth"}}
    made: dict[str, Any] = (await client.post("/gateways", json=body)).json()
    assert made["reachable"] is False
    parts = urlsplit(str(made["consent_url"]))
    assert (parts.netloc, parts.path) == ("gateway.example", "/oauth/upstreams/u1/start")
    plain = msgspec.structs.replace(upstream, credential=Credential())
    world.bus.replies[subjects.CATALOG_UPSTREAM_CREATE] = plain
    assert (await client.post("/gateways", json=body | {"credential": {"kind": "none"}})).json()["consent_url"] == ""
    assert all(isinstance(asked, CreateUpstream) for _, asked in world.bus.asked)


async def test_grants_are_listed_without_tokens_and_revoked(
    world: FakeWorld, server: AuthorizationServer, upstream: Upstream, browser: httpx2.AsyncClient,
    client: httpx2.AsyncClient,
) -> None:  # fmt: skip
    page = await browser.get(page_of(world, upstream, ACTOR.principal))
    sent = await browser.post(form_of(page.text)[0], data=form_of(page.text)[1])
    await browser.get("/oauth/upstreams/callback", params=server.visit(sent.headers["location"]))
    summary = GrantSummary("u1", "notes", ACTOR.principal, "read", 1, 2)
    world.bus.replies[subjects.CATALOG_GRANT_LIST] = GrantList((summary,))
    assert (await client.get("/grants")).json() == [msgspec.to_builtins(summary)]
    assert (await client.delete("/grants/u1")).json() == {"status": "revoked"}
    assert server.revoked
    assert ("u1", ACTOR.principal) not in world.grants.kept
    assert (await client.delete("/grants/u1")).status_code == 404
    assert (await browser.get("/grants")).status_code == 401
