"""Consents at an authorization server that others wrote: the one of the MCP Python SDK, over real HTTP."""

import asyncio
import secrets
import socket
from collections.abc import AsyncGenerator
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import uvicorn
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    IdentityAssertionParams,
    RefreshToken,
    construct_redirect_uri,
)
from mcp.server.auth.routes import create_auth_routes, create_protected_resource_routes
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl
from starlette.applications import Starlette

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.catalog import Credential
from interlock_common.messages.common import Actor
from interlock_common.messages.grants import RevokeGrant
from interlock_common.sealing import Sealer
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.testing.grants import FakeGrants, FakeOnce
from interlock_gateway.testing.servers import upstream_at
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.oauth.consents import Consents
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded, Vault
from interlock_gateway.upstreams.oauth.token_endpoint import TokenEndpoints
from interlock_gateway.upstreams.oauth.user_tokens import UserTokens


class Provider:
    """Grants everything at once; the SDK's routes check clients, PKCE and redirect addresses."""

    def __init__(self) -> None:
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.refresh: dict[str, RefreshToken] = {}

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[str(client_info.client_id)] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        code = secrets.token_hex(16)
        self.codes[code] = AuthorizationCode(
            code=code, scopes=params.scopes or [], expires_at=SYSTEM_CLOCK.time() + 60,
            client_id=str(client.client_id), code_challenge=params.code_challenge, redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly, resource=params.resource,
        )  # fmt: skip
        return construct_redirect_uri(str(params.redirect_uri), code=code, state=params.state)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        del client
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        return self._issue(client)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        del client
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        del self.refresh[refresh_token.token], scopes
        return self._issue(client)

    async def load_access_token(self, token: str) -> AccessToken | None:
        del token
        return None

    async def exchange_identity_assertion(
        self, client: OAuthClientInformationFull, params: IdentityAssertionParams
    ) -> OAuthToken:
        raise NotImplementedError

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        del self.refresh[token.token]

    def _issue(self, client: OAuthClientInformationFull) -> OAuthToken:
        refresh = secrets.token_hex(16)
        self.refresh[refresh] = RefreshToken(token=refresh, client_id=str(client.client_id), scopes=[])
        return OAuthToken(access_token=secrets.token_hex(16), expires_in=600, refresh_token=refresh)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def base(provider: Provider) -> AsyncGenerator[str]:
    """Where the server is, which is the upstream's own as well."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        base = f"http://localhost:{listener.getsockname()[1]}"
        routes = create_auth_routes(
            provider, AnyHttpUrl(base), client_registration_options=ClientRegistrationOptions(enabled=True),
            revocation_options=RevocationOptions(enabled=True),
        )  # fmt: skip
        routes += create_protected_resource_routes(AnyHttpUrl(f"{base}/mcp"), [AnyHttpUrl(base)])
        config = uvicorn.Config(Starlette(routes=routes), lifespan="off", log_config=None, ws="none")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        yield base
        server.should_exit = True
        await task


async def test_the_whole_way_from_discovery_to_revocation(provider: Provider, base: str) -> None:
    clock, grants, sealer = ManualClock(), FakeGrants(), Sealer(b"secret")
    endpoints = TokenEndpoints(AddressPolicy(allow_private=True))
    upstream = upstream_at(f"{base}/mcp", credential=Credential("oauth"))
    consents = Consents(
        lambda _id: upstream, grants, sealer, endpoints, FakeOnce(), clock, base="https://gateway.example"
    )
    tokens = UserTokens(grants, Vault(sealer), endpoints, clock, holder="edge", link=consents.link)
    try:
        with pytest.raises(ConsentNeeded) as needed:
            await tokens.headers(upstream, "ada")
        state = parse_qs(urlsplit(needed.value.url).query)["state"][0]
        place = await consents.begin("u1", state, "browser")
        async with aiohttp.ClientSession() as browser, browser.get(place, allow_redirects=False) as answer:
            back = parse_qs(urlsplit(answer.headers["Location"]).query)
        await consents.finish({name: values[0] for name, values in back.items()}, "browser")
        first = await tokens.headers(upstream, "ada")
        clock.advance(600)
        assert await tokens.headers(upstream, "ada") != first
        assert len(provider.refresh) == 1
        # The SDK's revocation refuses clients that authenticate by header: the grant is forgotten here all the same.
        await consents.revoke(RevokeGrant(Actor("ada"), "u1", "ada"))
        with pytest.raises(ConsentNeeded):
            await tokens.headers(upstream, "ada")
    finally:
        await endpoints.close()
