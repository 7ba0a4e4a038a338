"""Minting and listing tokens: what they say, how long they live, and that none reaches further than its maker."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.asking import Asker, asker
from interlock_auth.containment import Grant, binding_of_minted, reach_of_token, require_contained
from interlock_auth.errors import LifetimeRefused, NameRefused, NotPermitted
from interlock_auth.identity_store import IdentityStore, TeamStore
from interlock_auth.keys import Keyring
from interlock_auth.models import NEVER, TokenRow
from interlock_auth.outlet import Outlet
from interlock_auth.owned_tokens import sees_all
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_auth.token_store import TokenStore
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import (
    CreateToken,
    IssuedToken,
    ListTokens,
    Principal,
    Scopes,
    TokenList,
    TokenSummary,
)
from interlock_common.restrictions import restrictions_of

DEFAULT_ISSUER = "mcpgateway"
DEFAULT_AUDIENCE = "mcpgateway-api"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068, section 2.1
_MAX_NAME_LENGTH = 255
_MAX_DESCRIPTION_LENGTH = 2000
_MAX_PAGE = 500


@dataclass(frozen=True)
class TokenRules:
    """What every token says, and how long it may live (seconds).

    With ``require_expiration`` a token always has an end; ``environment`` is embedded as ``env`` when set.
    """

    issuer: str = DEFAULT_ISSUER
    audience: str = DEFAULT_AUDIENCE
    max_lifetime: int = 90 * 86400
    require_expiration: bool = True
    environment: str | None = None


class Mint:
    """Makes tokens; containment is the business of whoever calls it."""

    def __init__(self, engine: AsyncEngine, keyring: Keyring, rules: TokenRules, clock: Clock) -> None:
        self._engine = engine
        self._keyring = keyring
        self._rules = rules
        self._clock = clock

    async def issue(
        self, principal: Principal, name: str, lifetime: int, grant: Grant, also: Mapping[str, Any] | None = None
    ) -> IssuedToken:
        """Sign a token and keep its SHA-256; the token itself exists only in the answer.

        ``also`` are claims beside, or instead of, those that every token has.
        """
        issued_at = int(self._clock.time())
        expires_at = self._expiry(issued_at, lifetime)
        token_id = str(uuid.uuid4())
        async with transaction(self._engine) as session:
            store = Store(session)
            pair = await self._keyring.signer(store, expires_at)
            claims = self._claims(principal, grant, token_id, issued_at, expires_at) | dict(also or {})
            token = jwt.encode(claims, pair.private, pair.algorithm, headers={"kid": pair.kid, "typ": TOKEN_TYPE})
            await store.add_token(TokenRow(
                id=token_id, name=name, principal=principal.name, digest=hashlib.sha256(token.encode()).digest(),
                kid=pair.kid, scopes=_json(grant.scopes), teams=None if grant.teams is None else _json(grant.teams),
                created_at=issued_at, expires_at=expires_at,
            ))  # fmt: skip
        return IssuedToken(token_id, token, on_the_wire(expires_at))

    def _expiry(self, issued_at: int, lifetime: int) -> int:
        if lifetime == 0 and not self._rules.require_expiration:
            return NEVER
        if lifetime <= 0:
            raise LifetimeRefused("lifetime must be positive: tokens must expire")
        if lifetime > self._rules.max_lifetime:
            raise LifetimeRefused(f"lifetime must not exceed {self._rules.max_lifetime} seconds")
        return issued_at + lifetime

    def _claims(
        self, principal: Principal, grant: Grant, token_id: str, issued_at: int, expires_at: int
    ) -> dict[str, Any]:
        claims: dict[str, Any] = {
            "iss": self._rules.issuer,
            "aud": self._rules.audience,
            "sub": principal.name,
            "jti": token_id,
            "iat": issued_at,
        }
        if expires_at != NEVER:
            claims["exp"] = expires_at
        if grant.teams is not None:
            claims["teams"] = list(grant.teams)
        if grant.scopes != Scopes():
            claims["scopes"] = msgspec.to_builtins(grant.scopes)
        if self._rules.environment is not None:
            claims["env"] = self._rules.environment
        return claims


class Tokens:
    """What actors do with tokens."""

    def __init__(self, engine: AsyncEngine, mint: Mint, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._mint = mint
        self._outlet = outlet
        self._clock = clock

    async def create(self, request: CreateToken) -> IssuedToken:
        """A token of the actor, contained in the credential that asks for it; or of a service account."""
        check_texts(request.name, request.description)
        restrictions_of(request.scopes)
        grant = Grant(request.scopes, request.teams)
        async with transaction(self._engine) as session:
            asks = await asker(Store(session), request.actor)
            principal, held, certificate = asks.principal, asks.reach, request.certificate
            if request.principal not in (None, principal.name):
                principal = await _service_account(IdentityStore(session), asks, request.principal or "")
                held = reach_of_token(principal, Grant(Scopes(), principal.teams))
            else:
                certificate = binding_of_minted(request.actor.bound_to, certificate)
        require_contained(principal, held, grant)
        also = None if certificate is None else {"cnf": {"x5t#S256": certificate}}
        issued = await self._mint.issue(principal, request.name, request.lifetime, grant, also)
        if request.description:
            async with transaction(self._engine) as session:
                await TokenStore(session).change_token(issued.id, description=request.description)
        await self._outlet.record(
            "token.created", request.actor.principal, issued.id, name=request.name, expires_at=issued.expires_at,
            principal=principal.name, scopes=msgspec.to_builtins(grant.scopes), teams=grant.teams,
            certificate=certificate,
        )  # fmt: skip
        return issued

    async def list(self, request: ListTokens) -> TokenList:
        """The actor's tokens, newest first; an administrator sees everyone's, the owner of a team those for the team.

        The cursor is the id of the last token of the page before. Raises NotPermitted for somebody else's tokens.
        """
        limit = max(1, min(request.limit, _MAX_PAGE))
        async with transaction(self._engine) as session:
            store = TokenStore(session)
            asks = await asker(store, request.actor)
            everyone = sees_all(asks, "tokens.read")
            if request.team is not None and not everyone:
                everyone = await _owns(TeamStore(session), asks, request.team)
            if not everyone and request.principal not in (None, asks.name):
                raise NotPermitted("the tokens of others are an administrator's to see")
            before = await store.token(request.cursor) if request.cursor else None
            whose = request.principal if everyone else asks.name
            rows = await store.listed(request, whose, before, int(self._clock.time()), limit)
        return TokenList(tuple(summary(row, revoked=revoked) for row, revoked in rows))


async def _owns(store: TeamStore, asks: Asker, team: str) -> bool:
    """Whether the asker is an owner of the team; one who is not sees their own tokens for it."""
    member = await store.member(team, asks.name)
    return member is not None and member.owner and asks.reaches(team)


def check_texts(name: str | None, description: str | None) -> None:
    """Raise NameRefused for what a token cannot be called or described by."""
    if name is not None and (not name.strip() or len(name) > _MAX_NAME_LENGTH):
        raise NameRefused(f"name must have between 1 and {_MAX_NAME_LENGTH} characters")
    if description is not None and len(description) > _MAX_DESCRIPTION_LENGTH:
        raise NameRefused(f"description must have at most {_MAX_DESCRIPTION_LENGTH} characters")


async def _service_account(store: IdentityStore, asks: Asker, name: str) -> Principal:
    """An active service account, for whoever may change users and holds all that it holds."""
    asks.require("users.update")
    row = await store.user(name)
    if row is None or row.kind != "service" or not row.active:
        raise NotPermitted("tokens are minted for oneself, and for active service accounts")
    account = principal_of(row)
    asks.require_to_hold_all_of(account)
    return account


def on_the_wire(expires_at: int) -> int:
    """An expiry as contracts say it: 0 is never."""
    return 0 if expires_at == NEVER else expires_at


def settings_left_default(rules: TokenRules) -> tuple[str, ...]:
    """The settings with which another deployment, that left them as well, would take our tokens for its own."""
    named = (("JWT_ISSUER", rules.issuer, DEFAULT_ISSUER), ("JWT_AUDIENCE", rules.audience, DEFAULT_AUDIENCE))
    return tuple(name for name, value, default in named if value == default)


def summary(row: TokenRow, *, revoked: bool) -> TokenSummary:
    """What is shown of a token."""
    return TokenSummary(
        row.id, row.name, row.principal, row.created_at, on_the_wire(row.expires_at), revoked, row.description,
        msgspec.json.decode(row.scopes, type=Scopes),
        None if row.teams is None else msgspec.json.decode(row.teams, type=tuple[str, ...]),
        row.last_used_at, row.used_total,
    )  # fmt: skip


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
