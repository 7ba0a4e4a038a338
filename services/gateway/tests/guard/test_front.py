"""The outermost layer in front of real endpoints, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from interlock_common.messages.audit import Refusal
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.guard.buckets import Rate
from interlock_gateway.guard.client_address import TrustedProxies
from interlock_gateway.guard.front import Guard, KeptOut
from interlock_gateway.guard.origins import Cors, Origins
from interlock_gateway.guard.rate_limits import ADDRESS, COUNTED, LOGIN, PRINCIPAL, RateLimits
from interlock_gateway.guard.security_headers import SecurityHeaders
from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import FakeWorld
from interlock_gateway.server import Router, listen, make_server
from interlock_gateway.testing.asking import modern_call
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import result_of, upstream_at

PAGE = "https://console.example"
CORS = Cors(Origins(frozenset({PAGE})))


@dataclass
class Guarded:
    """An edge and REST behind the guard; what is refused there is kept."""

    world: EdgeWorld
    cors: Cors = CORS
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    headers: SecurityHeaders = field(default_factory=lambda: SecurityHeaders(hsts_seconds=600))
    refused: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    scopes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def application(self) -> Guard:
        rest_world = FakeWorld()

        async def counted(request: Any) -> Any:
            actor = await rest_world.authenticate(request)
            self.world.limits.count_caller(actor.principal, actor.token_id or "", request.scope[COUNTED])
            return actor

        dependencies = rest_world.dependencies()
        object.__setattr__(dependencies, "authenticate", counted)
        router = Router(self.world.endpoints(), create_rest_app(dependencies))

        async def seen(scope: dict[str, Any], receive: Any, send: Any) -> None:
            self.scopes.append(scope)
            await router(scope, receive, send)

        return Guard(seen, self.world.limits, self.proxies, self.cors, self.headers, self._refused)

    def _refused(self, error: KeptOut, scope: dict[str, Any]) -> None:
        self.refused.append((scope["path"], error.noted))


@asynccontextmanager
async def http(guarded: Guarded) -> AsyncGenerator[tuple[aiohttp.ClientSession, str]]:
    listener = listen("127.0.0.1", 0)
    server = make_server(guarded.application())
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession() as session:
            yield session, f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest.fixture
async def notes(world: EdgeWorld, serve: Callable[..., Awaitable[str]]) -> EdgeWorld:
    async def answer(request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        return web.Response(body=result_of(asked["id"]), content_type="application/json")

    world.register(upstream_at(await serve(answer)))
    return world


def call(world: EdgeWorld) -> dict[str, Any]:
    headers, body = modern_call()
    return {"data": body, "headers": headers | {"authorization": f"Bearer {world.signer.token()}"}}


async def test_a_call_is_counted_and_told_what_is_left(notes: EdgeWorld) -> None:
    notes.limits = RateLimits({ADDRESS: Rate(10, 100), PRINCIPAL: Rate(1, 2)}, ManualClock())
    async with http(Guarded(notes)) as (session, url):
        for left in ("1", "0"):
            async with session.post(f"{url}/mcp", **call(notes)) as answer:
                assert answer.status == 200
                assert (answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]) == ("2", left)
                assert answer.headers["ratelimit-policy"] == '2;w=2;comment="principal"'
        async with session.post(f"{url}/mcp", **call(notes)) as answer:
            said = await answer.json()
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert answer.headers["ratelimit-remaining"] == "0"
    assert said["error"]["data"] == {"code": "rate_limited", "retry_after": 1, "limit": "principal"}
    assert [record.reason for record in notes.audit.of(Refusal)] == ["rate_limited"]


async def test_rest_has_the_same_limits_and_says_so_in_a_problem_document(world: EdgeWorld) -> None:
    world.limits = RateLimits({PRINCIPAL: Rate(0.5, 1)}, ManualClock())
    async with http(Guarded(world)) as (session, url):
        for expected in (200, 429):
            async with session.get(f"{url}/openapi.json", headers={"authorization": "Bearer good"}) as answer:
                assert (answer.status, answer.headers["ratelimit-remaining"]) == (expected, "0")
                said = await answer.json(content_type=None)
        assert answer.content_type == "application/problem+json"
        assert answer.headers["retry-after"] == "2"
    assert (said["type"], said["fields"]["limit"]) == ("urn:interlock:error:rate_limited", "principal")


async def test_an_address_without_a_credential_is_limited_too_and_each_endpoint_says_it_in_its_words(
    world: EdgeWorld,
) -> None:
    world.limits = RateLimits({ADDRESS: Rate(0.1, 1)}, ManualClock())
    guarded = Guarded(world)
    async with http(guarded) as (session, url):
        async with session.post(f"{url}/mcp") as answer:
            assert answer.status == 401
        for path in ("/mcp", "/servers/desk/mcp", "/rpc", "/messages"):
            async with session.post(url + path) as answer:
                assert (answer.status, (await answer.json())["error"]["data"]["limit"]) == (429, "address")
        async with session.get(f"{url}/gateways") as answer:
            assert (answer.status, answer.content_type) == (429, "application/problem+json")
        for path in ("/health", "/ready"):
            async with session.get(url + path) as answer:
                assert (answer.status, "ratelimit-limit" in answer.headers) == (200, False)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{url}/ws")
        assert refused.value.status == 429
    assert [noted for _, noted in guarded.refused] == [True, *[False] * 5]


@pytest.mark.parametrize("good_first", [True, False])
@pytest.mark.parametrize("path", ["/mcp", "/gateways"])
async def test_whoever_shows_two_credentials_is_refused_whichever_of_them_is_good(
    notes: EdgeWorld, path: str, good_first: bool
) -> None:
    guarded = Guarded(notes)
    asked = call(notes)
    good = ("Authorization", asked["headers"].pop("authorization"))
    both = [good, ("Authorization", "Bearer other")]
    asked["headers"] = [*asked["headers"].items(), *(both if good_first else reversed(both))]
    async with http(guarded) as (session, url), session.post(url + path, **asked) as answer:
        assert answer.status == 400
        assert "header_repeated" in await answer.text()
        assert "retry-after" not in answer.headers
    assert guarded.refused == [(path, True)]


async def test_logins_are_limited_by_address_before_anybody_is_asked(world: EdgeWorld) -> None:
    world.limits = RateLimits({LOGIN: Rate(0.1, 2)}, ManualClock())
    body = {"email": "ada@example.com", "password": "guess"}
    async with http(Guarded(world)) as (session, url):
        found: list[int] = []
        for _ in range(3):
            async with session.post(f"{url}/auth/login", json=body) as answer:
                found.append(answer.status)
    assert found[2] == 429
    assert 429 not in found[:2]


async def test_each_message_of_a_websocket_counts_and_only_requests_are_refused(notes: EdgeWorld) -> None:
    notes.limits = RateLimits({PRINCIPAL: Rate(0.1, 3)}, ManualClock())  # the handshake is the first
    _, body = modern_call()
    headers = {"authorization": f"Bearer {notes.signer.token()}"}
    async with http(Guarded(notes)) as (session, url), session.ws_connect(f"{url}/ws", headers=headers) as socket:
        answers: list[Any] = []
        for _ in range(4):
            await socket.send_str(body.decode())
            answers.append(await socket.receive_json())
    assert ["result" in answer for answer in answers] == [True, True, False, False]
    assert answers[2]["id"] == 7
    assert answers[2]["error"]["data"] == {"code": "rate_limited", "retry_after": 10, "limit": "principal"}
    assert len(notes.audit.of(Refusal)) == 1


async def test_every_answer_has_the_security_headers_and_names_no_server(notes: EdgeWorld) -> None:
    expected = {
        "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "same-origin",
        "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    }  # fmt: skip
    async with http(Guarded(notes)) as (session, url):
        for method, path in (("POST", "/mcp"), ("GET", "/health"), ("GET", "/nowhere"), ("GET", "/gateways")):
            async with session.request(method, url + path) as answer:
                assert {name: answer.headers[name] for name in expected} == expected
                assert answer.headers["cache-control"] == "no-store"
                assert {"server", "strict-transport-security"} & {name.lower() for name in answer.headers} == set()
        async with session.get(f"{url}/.well-known/jwks.json") as answer:
            assert answer.headers.getall("cache-control") == ["public, max-age=60"]


async def test_https_behind_a_trusted_proxy_must_stay_https(world: EdgeWorld) -> None:
    said = {"x-forwarded-for": "198.51.100.1, 203.0.113.9", "x-forwarded-proto": "https"}
    for proxies, strict, client in (("127.0.0.0/8", True, "203.0.113.9"), ("", False, "127.0.0.1")):
        guarded = Guarded(world, proxies=TrustedProxies(proxies))
        async with http(guarded) as (session, url), session.get(f"{url}/health", headers=said) as answer:
            assert ("strict-transport-security" in answer.headers) is strict
        assert (guarded.scopes[0]["client"][0], guarded.scopes[0]["scheme"] == "https") == (client, strict)


async def test_an_address_is_limited_by_what_a_trusted_proxy_says_of_it(world: EdgeWorld) -> None:
    world.limits = RateLimits({ADDRESS: Rate(0.1, 1)}, ManualClock())
    async with http(Guarded(world, proxies=TrustedProxies("127.0.0.1"))) as (session, url):
        for client, expected in (("203.0.113.9", 401), ("203.0.113.9", 429), ("203.0.113.8", 401)):
            async with session.get(f"{url}/gateways", headers={"x-forwarded-for": f"6.6.6.6, {client}"}) as answer:
                assert answer.status == expected


async def test_forged_forwarding_headers_of_anybody_else_change_nothing(world: EdgeWorld) -> None:
    world.limits = RateLimits({ADDRESS: Rate(0.1, 1)}, ManualClock())
    async with http(Guarded(world)) as (session, url):
        for client, expected in (("203.0.113.9", 401), ("203.0.113.8", 429)):
            async with session.get(f"{url}/gateways", headers={"x-forwarded-for": client}) as answer:
                assert answer.status == expected


@pytest.mark.parametrize("path", ["/mcp", "/servers/desk/mcp", "/rpc", "/gateways"])
async def test_a_page_of_an_allowed_origin_may_ask_and_read(world: EdgeWorld, path: str) -> None:
    asked = {
        "origin": PAGE, "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,mcp-session-id,mcp-param-x,last-event-id,cookie",
    }  # fmt: skip
    async with http(Guarded(world)) as (session, url):
        async with session.options(url + path, headers=asked) as answer:
            assert answer.status == 204
            assert answer.headers.getall("access-control-allow-origin") == [PAGE]
            allowed = answer.headers["access-control-allow-headers"]
            assert allowed == "authorization, content-type, mcp-session-id, mcp-param-x, last-event-id"
            assert "DELETE" in answer.headers["access-control-allow-methods"]
            assert answer.headers.getall("vary") == ["origin"]
        async with session.post(url + path, headers={"origin": PAGE}) as answer:
            assert answer.status in {401, 422}
            assert answer.headers["access-control-allow-origin"] == PAGE
            readable = answer.headers["access-control-expose-headers"].split(", ")
            assert {"mcp-session-id", "interlock-audit", "ratelimit-remaining", "www-authenticate"} < set(readable)
            assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_of_another_origin_is_told_nothing(world: EdgeWorld) -> None:
    evil = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    async with http(Guarded(world)) as (session, url):
        async with session.options(f"{url}/mcp", headers=evil) as answer:
            assert answer.status == 403
            assert [name for name in answer.headers if name.lower().startswith("access-control")] == []
        async with session.post(f"{url}/mcp", headers={"origin": "https://evil.example"}) as answer:
            assert (answer.status, "access-control-allow-origin" in answer.headers) == (403, False)


async def test_cors_can_be_off_and_credentials_be_let_along(world: EdgeWorld) -> None:
    asked = {"origin": PAGE, "access-control-request-method": "POST"}
    async with (
        http(Guarded(world, cors=Cors(CORS.origins, enabled=False))) as (session, url),
        session.options(f"{url}/mcp", headers=asked) as answer,
    ):
        assert [name for name in answer.headers if name.lower().startswith("access-control")] == []
    async with (
        http(Guarded(world, cors=Cors(CORS.origins, credentials=True))) as (session, url),
        session.options(f"{url}/mcp", headers=asked) as answer,
    ):
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-allow-origin"] == PAGE
