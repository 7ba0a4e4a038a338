import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.auth import Assertion, MintAssertion
from interlock_common.messages.catalog import Credential, Upstream
from interlock_common.sealing import Sealer
from interlock_common.testing.clock import ManualClock
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.credentials import CredentialUnusable, SealedSecrets
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints
from interlock_gateway.upstreams.oauth.token_exchange import TokenExchange
from interlock_gateway.upstreams.oauth.vouching import AuthVouches

SEALER = Sealer(b"secret")


@dataclass
class FakeAuth:
    """Auth, as the bus reaches it."""

    asked: list[MintAssertion] = field(default_factory=list[MintAssertion])

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T:
        del timeout
        assert subject == "svc.auth.token.assertion"
        assert isinstance(message, MintAssertion)
        self.asked.append(message)
        answer = Assertion(f"assertion of {message.principal} {len(self.asked)}", 60)
        assert isinstance(answer, reply)
        return answer


class Exchanger:
    """A token endpoint that gives a token for each assertion."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.refuses = False

    async def __call__(self, request: web.Request) -> web.Response:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        if self.refuses:
            return web.json_response({"error": "invalid_request"}, status=400)
        return web.json_response({
            "access_token": f"t{len(self.forms)}", "token_type": "Bearer", "expires_in": 100,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        })  # fmt: skip


@pytest.fixture
async def endpoints() -> AsyncGenerator[TokenEndpoints]:
    endpoints = TokenEndpoints(AddressPolicy(allow_private=True))
    yield endpoints
    await endpoints.close()


def upstream_of(url: str, **public: str) -> Upstream:
    sealed = SEALER.seal("credential", msgspec.json.encode({"client_secret": "s"}), b"u1")
    credential = Credential("token_exchange", {"token_endpoint": url, **public}, sealed)
    return upstream_at("https://x.example/mcp", credential=credential)


async def test_each_principal_is_vouched_for_and_gets_a_token_that_is_kept(
    endpoints: TokenEndpoints, serve: Any
) -> None:
    auth, clock, exchanger = FakeAuth(), ManualClock(), Exchanger()
    provider = TokenExchange(SealedSecrets(SEALER), endpoints, AuthVouches(auth), clock)
    url = await serve(exchanger)
    upstream = upstream_of(url, client_id="gateway", audience="orders", scope="read")
    ada = await asyncio.gather(*[provider.headers(upstream, "ada") for _ in range(3)])
    eve = await provider.headers(upstream, "eve")
    assert [each["Authorization"] for each in (*ada, eve)] == ["Bearer t1"] * 3 + ["Bearer t2"]
    assert auth.asked == [MintAssertion("ada", url), MintAssertion("eve", url)]
    assert exchanger.forms[0] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "assertion of ada 1",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "audience": "orders", "scope": "read",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }  # fmt: skip
    clock.advance(91)
    assert await provider.headers(upstream, "ada") == {"Authorization": "Bearer t3"}


async def test_a_token_that_the_upstream_refuses_is_exchanged_anew_once(endpoints: TokenEndpoints, serve: Any) -> None:
    clock = ManualClock()
    provider = TokenExchange(SealedSecrets(SEALER), endpoints, AuthVouches(FakeAuth()), clock)
    upstream = upstream_of(await serve(Exchanger()), assertion_audience="https://login.example")
    assert not provider.invalid(upstream, "ada", "")
    await provider.headers(upstream, "ada")
    assert not provider.invalid(upstream, "ada", "")
    clock.advance(6)
    assert provider.invalid(upstream, "ada", "")
    assert not provider.invalid(upstream, "eve", "")
    assert await provider.headers(upstream, "ada") == {"Authorization": "Bearer t2"}


async def test_a_refusal_names_the_upstream_and_nothing_secret(endpoints: TokenEndpoints, serve: Any) -> None:
    exchanger, auth = Exchanger(), FakeAuth()
    exchanger.refuses = True
    provider = TokenExchange(SealedSecrets(SEALER), endpoints, AuthVouches(auth), ManualClock())
    upstream = upstream_of(await serve(exchanger), assertion_audience="https://login.example")
    for _ in range(2):
        with pytest.raises(CredentialUnusable, match="notes refused: invalid_request") as refused:
            await provider.headers(upstream, "ada")
        assert "assertion" not in str(refused.value)
    assert auth.asked == [MintAssertion("ada", "https://login.example")]
