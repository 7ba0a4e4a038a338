"""The token endpoint: codes and refresh tokens become access tokens (RFC 6749, section 3.2; RFC 7636).

A code and a refresh token are good for one use, and whoever uses one wrongly ends all that was issued for its grant:
it is not known which of two users was the thief.
"""

import hmac
from typing import cast

from authlib.oauth2.rfc7636 import challenge as pkce  # pyright: ignore[reportMissingTypeStubs] - it has none
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.client_assertions import ClientAuthentication, ClientProof
from interlock_auth.oauth_certificates import Shown, require_certificate, require_same_certificate
from interlock_auth.oauth_clients import ALL_GRANT_TYPES, AUTHORIZATION_CODE, TOKEN_EXCHANGE, Client
from interlock_auth.oauth_errors import (
    InvalidGrant,
    InvalidRequest,
    InvalidTarget,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from interlock_auth.oauth_exchange import Narrowing
from interlock_auth.oauth_grants import GrantFamilies, narrowed_scopes
from interlock_auth.oauth_models import CodeRow, GrantRow
from interlock_auth.oauth_store import OAuthStore, digest_of
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.oauth import TokenAnswer, TokenRequest

_MAX_VALUE = 2048


class TokenExchange:
    """What clients get for codes, refresh tokens and tokens of others."""

    def __init__(
        self, engine: AsyncEngine, families: GrantFamilies, clients: ClientAuthentication, narrowing: Narrowing,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._families = families
        self._clients = clients
        self._narrowing = narrowing
        self._clock = clock

    async def exchange(self, request: TokenRequest) -> TokenAnswer:
        """Tokens for a code, a refresh token or a token; raises the errors of RFC 6749, section 5.2."""
        values = (request.client_id, request.code, request.refresh_token, request.redirect_uri)
        if max(map(len, values)) > _MAX_VALUE:
            raise InvalidRequest(f"a value has at most {_MAX_VALUE} characters")
        client = await self._clients.client(ClientProof.of(request))
        if request.grant_type not in ALL_GRANT_TYPES:
            raise UnsupportedGrantType(f"grant_type is {', '.join(ALL_GRANT_TYPES)}")
        if request.grant_type not in client.grant_types:
            raise UnauthorizedClient(f"this client did not register for {request.grant_type}")
        if request.grant_type == AUTHORIZATION_CODE:
            return await self._code(request, client)
        if request.grant_type == TOKEN_EXCHANGE:
            return await self._narrowing.exchange(request, client)
        return await self._refresh(request, client)

    async def _code(self, request: TokenRequest, client: Client) -> TokenAnswer:
        if not request.code:
            raise InvalidRequest("code is missing")
        digest, now = digest_of(request.code), int(self._clock.time())
        async with transaction(self._engine) as session:
            store = OAuthStore(session)
            row = await store.code(digest)
            grant = None if row is None else await store.grant(row.grant_id)
            if row is None or grant is None:
                raise InvalidGrant("the code does not count")
            require_certificate(request, asked=grant.certificate_bound)
            first = await store.use_code(digest, now)
        if not first:
            await self._families.end(grant, "its code was used twice")
            raise InvalidGrant("the code was used already")
        if reason := _unfit(request, client, row, grant, now):
            await self._families.end(grant, reason)
            raise InvalidGrant(f"the code does not count: {reason}")
        if request.resource and request.resource != grant.resource:
            await self._families.end(grant, "its code came with another resource")
            raise InvalidTarget("resource is not the one that was granted")
        return await self._families.issue(grant, shown=Shown.by(request, client))

    async def _refresh(self, request: TokenRequest, client: Client) -> TokenAnswer:
        if not request.refresh_token:
            raise InvalidRequest("refresh_token is missing")
        digest, now = digest_of(request.refresh_token), int(self._clock.time())
        async with transaction(self._engine) as session:
            store = OAuthStore(session)
            row = await store.refresh_token(digest)
            grant = None if row is None else await store.grant(row.grant_id)
            if row is None or grant is None or grant.ended_at is not None or row.expires_at <= now:
                raise InvalidGrant("the refresh token does not count")
            reused = row.used_at is not None
            stopped = grant.token_id is not None and await store.is_revoked(grant.token_id)
        if reason := _misused(client, grant, reused=reused, stopped=stopped):
            await self._families.end(grant, reason)
            raise InvalidGrant(f"the refresh token does not count: {reason}")
        require_certificate(request, asked=grant.certificate_bound)
        require_same_certificate(request, grant)
        if request.resource and request.resource != grant.resource:
            raise InvalidTarget("resource is not the one that was granted")
        narrowed_scopes(grant, request.scope)
        async with transaction(self._engine) as session:
            first = await OAuthStore(session).use_refresh_token(digest, now)
        if not first:  # two at once
            await self._families.end(grant, "a refresh token was used twice")
            raise InvalidGrant("the refresh token was used already")
        return await self._families.issue(grant, request.scope, Shown.by(request, client))


def _unfit(request: TokenRequest, client: Client, row: CodeRow, grant: GrantRow, now: int) -> str:
    """Why a code, used for the first time, is not this request's; empty where it is."""
    if row.expires_at <= now:
        return "it has expired"
    if grant.client_id != client.id:
        return "it is of another client"
    if request.redirect_uri != row.redirect_uri:
        return "redirect_uri is not the one that it was sent to"
    if not _verifies(request.code_verifier, row.challenge):
        return "code_verifier does not belong to the code_challenge"
    return ""


def _misused(client: Client, grant: GrantRow, *, reused: bool, stopped: bool) -> str:
    if grant.client_id != client.id:
        return "it is of another client"
    if reused:
        return "it was used already"
    return "its access token was revoked" if stopped else ""


def _verifies(verifier: str, challenge: str) -> bool:
    """PKCE's method S256 (RFC 7636, section 4.6)."""
    if not pkce.CODE_VERIFIER_PATTERN.fullmatch(verifier):
        return False
    made = cast("str", pkce.create_s256_code_challenge(verifier))  # pyright: ignore[reportUnknownMemberType]
    return hmac.compare_digest(made.encode(), challenge.encode())
