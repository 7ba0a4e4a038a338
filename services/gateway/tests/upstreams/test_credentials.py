import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.catalog import Credential, Upstream
from interlock_common.sealing import Sealer
from interlock_common.testing.clock import ManualClock
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.testing.servers import RESULT, result_of, upstream_at
from interlock_gateway.testing.upstreams import LEGACY, LegacyServer, all_of, http_over, request_to
from interlock_gateway.upstreams.addresses import AddressForbidden, AddressPolicy
from interlock_gateway.upstreams.connections import Ways
from interlock_gateway.upstreams.credentials import (
    BasicProvider,
    Credentials,
    CredentialUnusable,
    HeaderProvider,
    SealedSecrets,
)
from interlock_gateway.upstreams.oauth.client_credentials import ClientCredentials
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints

SEALER = Sealer(b"a secret of the deployment")
SECRETS = SealedSecrets(SEALER)


def credential(kind: Any, secret: dict[str, str], upstream_id: str = "u1", **public: str) -> Credential:
    return Credential(kind, public, SEALER.seal("credential", msgspec.json.encode(secret), upstream_id.encode()))


def with_credential(value: Credential, url: str = "https://x.example") -> Upstream:
    return upstream_at(url, credential=value)


class Issuer:
    """A token endpoint; ``accepted`` is what an upstream beside it takes."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, str], str]] = []
        self.answer: dict[str, Any] = {"token_type": "Bearer", "expires_in": 100}
        self.status = 200
        self.accepted = ""

    async def __call__(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((form, request.headers.get("Authorization", "")))
        self.accepted = f"t{len(self.asked)}"
        return web.json_response({"access_token": self.accepted} | self.answer, status=self.status)

    async def upstream(self, request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        if request.headers["Authorization"] != f"Bearer {self.accepted}":
            return web.json_response({}, status=401, headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=result_of(message["id"]), content_type="application/json")


@pytest.fixture
async def endpoints() -> AsyncGenerator[TokenEndpoints]:
    endpoints = TokenEndpoints(AddressPolicy(allow_private=True))
    yield endpoints
    await endpoints.close()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


async def test_a_header_and_basic_are_made_of_their_public_and_secret_parts() -> None:
    credentials = Credentials({"header": HeaderProvider(SECRETS), "basic": BasicProvider(SECRETS)})
    key = with_credential(credential("header", {"value": "k-1"}, name="X-Api-Key"))
    assert await credentials.headers(key, "ada") == {"X-Api-Key": "k-1"}
    bearer = with_credential(credential("header", {"value": "k-1"}, prefix="Bearer "))
    assert await credentials.headers(bearer, "ada") == {"Authorization": "Bearer k-1"}
    basic = with_credential(credential("basic", {"password": "p:w"}, user="ada"))
    assert await credentials.headers(basic, "ada") == {
        "Authorization": f"Basic {base64.b64encode(b'ada:p:w').decode()}"
    }
    assert await credentials.headers(upstream_at("https://x.example"), "ada") == {}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (credential("header", {"value": "s3cret"}, upstream_id="other"), "was not sealed under this AUTH_ENCRYPTION"),
        (Credential("header", {}, "AAAA"), "was not sealed under"),
        (Credential("header"), "has no value"),
        (credential("header", {"value": "s3cret\r\nX: y"}), "cannot be sent as a header"),
        (credential("oauth", {}), "of a kind that is not set up: oauth"),
    ],
)
async def test_a_credential_that_cannot_be_used_is_an_error_without_it(value: Credential, words: str) -> None:
    credentials = Credentials({"header": HeaderProvider(SECRETS)})
    with pytest.raises(CredentialUnusable, match=words) as refused:
        await credentials.headers(with_credential(value), "ada")
    assert "s3cret" not in str(refused.value)


def own_token(url: str, **public: str) -> Credential:
    secret = {"client_secret": "s c"}
    return credential("client_credentials", secret, token_endpoint=url, client_id="gate way", **public)


async def test_a_token_is_asked_for_once_and_kept_until_shortly_before_its_end(
    endpoints: TokenEndpoints, issuer: Issuer, serve: Any
) -> None:
    clock = ManualClock()
    provider = ClientCredentials(SECRETS, endpoints, clock)
    url = await serve(issuer)
    upstream = with_credential(own_token(url, scope="a b", resource="https://x.example/mcp", audience="x"))
    together = await asyncio.gather(*[provider.headers(upstream, who) for who in ("ada", "eve", "ada")])
    assert [headers["Authorization"] for headers in together] == ["Bearer t1"] * 3
    form, authorization = issuer.asked[0]
    assert form == {
        "grant_type": "client_credentials", "scope": "a b", "resource": "https://x.example/mcp", "audience": "x",
    }  # fmt: skip
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"gate+way:s+c"
    clock.advance(89)
    assert await provider.headers(upstream, "ada") == {"Authorization": "Bearer t1"}
    clock.advance(2)
    assert await provider.headers(upstream, "ada") == {"Authorization": "Bearer t2"}


@pytest.mark.parametrize("era", [{}, LEGACY])
async def test_a_token_that_the_upstream_refuses_is_replaced_once(
    endpoints: TokenEndpoints, issuer: Issuer, ways: Ways, serve: Any, era: dict[str, Any]
) -> None:
    clock = ManualClock()
    http = http_over(ways, client_credentials=ClientCredentials(SECRETS, endpoints, clock))
    legacy = LegacyServer()

    async def upstream(request: web.Request) -> web.StreamResponse:
        if era and request.headers.get("Authorization") == f"Bearer {issuer.accepted}":
            return await legacy(request)
        return await issuer.upstream(request)

    asked = request_to(await serve(upstream), credential=own_token(await serve(issuer)), **era)
    assert RESULT in (await all_of(http, asked))[0]
    issuer.accepted = "another"
    clock.advance(6)
    assert RESULT in (await all_of(http, asked))[0]
    assert len(issuer.asked) == 2
    issuer.accepted = "another"
    with pytest.raises(UpstreamMisbehaved, match="notes answered HTTP 401"):
        await all_of(http, asked)
    assert len(issuer.asked) == 2


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (400, {"error": "invalid_client", "access_token": ""}, "notes refused: invalid_client"),
        (500, {}, "notes refused: HTTP 500"),
        (307, {}, "notes refused: HTTP 307"),
        (200, {"token_type": "mac"}, "gave no bearer token"),
        (200, {"access_token": "a b"}, "gave no bearer token"),
        (200, {"access_token": 5}, "with what is no token"),
        (200, {"more": "x" * 70_000}, "failed: ValueError"),
    ],
)
async def test_a_token_endpoint_that_refuses_is_named_by_its_upstream_and_left_alone_for_a_while(
    endpoints: TokenEndpoints, issuer: Issuer, serve: Any, status: int, answer: Any, words: str
) -> None:
    issuer.status, issuer.answer = status, issuer.answer | answer
    clock = ManualClock()
    provider = ClientCredentials(SECRETS, endpoints, clock)
    upstream = with_credential(own_token(await serve(issuer)))
    for _ in range(2):
        with pytest.raises(CredentialUnusable, match=words):
            await provider.headers(upstream, "ada")
    assert len(issuer.asked) == 1
    issuer.status, issuer.answer = 200, {"expires_in": "100"}
    clock.advance(3)
    assert await provider.headers(upstream, "ada") == {"Authorization": "Bearer t2"}


async def test_a_token_endpoint_is_held_to_the_same_guard_as_upstreams(issuer: Issuer, serve: Any) -> None:
    url = await serve(issuer)
    guarded = TokenEndpoints(AddressPolicy())
    try:
        with pytest.raises(AddressForbidden):
            await guarded.ask(url.replace("http:", "https:"), {}, client=None, whose="notes")
        with pytest.raises(CredentialUnusable, match="must have an https address"):
            await guarded.ask(url, {}, client=None, whose="notes")
    finally:
        await guarded.close()
    assert not issuer.asked
