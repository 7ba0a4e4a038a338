"""What a client was granted, as one family: the tokens issued for it count together and end together."""

import secrets
from dataclasses import dataclass
from typing import Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.containment import Grant, Reach, reach_of_token
from interlock_auth.models import PrincipalRow
from interlock_auth.oauth_certificates import Shown
from interlock_auth.oauth_errors import InvalidGrant, InvalidScope
from interlock_auth.oauth_models import AccessRow, GrantRow, RefreshRow
from interlock_auth.oauth_store import OAuthStore, digest_of
from interlock_auth.outlet import Outlet
from interlock_auth.standing import principal_of
from interlock_auth.store import Store
from interlock_auth.tokens import Mint
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_common.messages.auth import Principal, RevokeToken, Scopes
from interlock_common.messages.common import Actor
from interlock_common.messages.oauth import MCP_SCOPES, TokenAnswer
from interlock_common.messages.permissions import PERMISSIONS

OFFLINE = "offline_access"
_NOTHING = Shown()
_MAX_SCOPE = 4096
_strings = msgspec.json.Decoder(tuple[str, ...])


class Revoker(Protocol):
    """Where a token is revoked, for every edge."""

    async def revoke(self, request: RevokeToken) -> object: ...


@dataclass(frozen=True)
class LifetimeRules:
    """Seconds that access tokens live, and that a client may go on refreshing; ``audience`` is the gateway's own."""

    access: int = 900
    grant: int = 30 * 86400
    audience: str = "mcpgateway-api"


class GrantFamilies:
    """Issues the tokens of a family, and ends it."""

    def __init__(
        self, engine: AsyncEngine, mint: Mint, revoker: Revoker, outlet: Outlet, rules: LifetimeRules, clock: Clock
    ) -> None:
        self._engine = engine
        self._mint = mint
        self._revoker = revoker
        self._outlet = outlet
        self.rules = rules
        self._clock = clock

    async def issue(self, grant: GrantRow, narrowed: str = "", shown: Shown = _NOTHING) -> TokenAnswer:
        """An access token, and the refresh token that replaces the one that was used.

        ``narrowed`` are scopes for this access token only, ``shown`` is what it may be bound to. Raises InvalidGrant
        where the family or its principal does not count any more, and InvalidScope where nothing would be left.
        """
        principal = await self._principal(grant)
        scopes = scopes_held(principal, narrowed_scopes(grant, narrowed))
        now = int(self._clock.time())
        lifetime = min(self.rules.access, max(1, grant.expires_at - now))
        audience = [grant.resource] if grant.server_id is not None else [grant.resource, self.rules.audience]
        issued = await self._mint.issue(
            principal, f"OAuth: {grant.client_name}"[:255], lifetime,
            Grant(Scopes(server_id=grant.server_id, permissions=scopes), _teams(principal)),
            {"aud": audience, "client_id": grant.client_id, "sid": grant.id} | shown.confirmation(grant),
        )  # fmt: skip
        refresh = secrets.token_urlsafe(32) if grant.refreshable else None
        async with transaction(self._engine) as session:
            store = OAuthStore(session)
            await store.add(AccessRow(token_id=issued.id, grant_id=grant.id, expires_at=issued.expires_at))
            if refresh is not None:
                row = RefreshRow(digest=digest_of(refresh), grant_id=grant.id, expires_at=grant.expires_at)
                await store.add(row)
            alive = await store.set_token(grant.id, issued.id, shown.of_refresh(grant))
        if not alive:  # it was ended while this token was made
            await self.end(grant, "it was ended")
            raise InvalidGrant("what was granted does not count any more")
        await self._outlet.record(
            "token.created", principal.name, issued.id, name=f"OAuth: {grant.client_name}", client_id=grant.client_id,
            grant=grant.id, scopes=scopes, resource=grant.resource, expires_at=issued.expires_at,
        )  # fmt: skip
        return TokenAnswer(issued.token, lifetime, " ".join(scopes), "Bearer", refresh)

    async def end(self, grant: GrantRow, reason: str) -> None:
        """End a family: nothing is issued for it any more, and what was issued is revoked at every edge."""
        async with transaction(self._engine) as session:
            living = await OAuthStore(session).end_grant(grant.id, int(self._clock.time()))
        self._outlet.record_soon("grant.ended", grant.principal, grant.id, client_id=grant.client_id, reason=reason)
        failed: InterlockError | None = None
        for token_id in living:
            try:
                await self._revoker.revoke(RevokeToken(Actor(grant.principal), token_id, f"OAuth grant: {reason}"))
            except InterlockError as error:  # the others all the same
                failed = error
        if failed is not None and failed.retryable:
            raise failed

    async def _principal(self, grant: GrantRow) -> Principal:
        """Who granted it, unless they are gone, or what was issued last was revoked, by itself or with others."""
        async with transaction(self._engine) as session:
            store = Store(session)
            row: PrincipalRow | None = await store.principal(grant.principal)
            if row is None or not row.active:
                raise InvalidGrant("whoever granted this is not active any more")
            principal = principal_of(row)
            newest = None if grant.token_id is None else await store.token(grant.token_id)
            since = grant.created_at if newest is None else newest.created_at
            bound = [("certificate", grant.certificate)] if grant.certificate else []
            stopped = await store.covered([*selectors_of(principal), ("session", grant.id), *bound], since)
        if stopped:
            raise InvalidGrant("what was granted is revoked")
        return principal


def selectors_of(principal: Principal) -> list[tuple[str, str]]:
    """The selectors of revocations that cover whatever this principal has."""
    return [("all", ""), ("user", principal.name), *(("team", team) for team in principal.teams)]


def scopes_asked(scope: str, otherwise: tuple[str, ...] = MCP_SCOPES) -> tuple[str, ...]:
    """The permissions that a ``scope`` parameter names, each once, in their usual order; raises InvalidScope.

    ``otherwise`` is what is meant where it names none.
    """
    if len(scope) > _MAX_SCOPE:
        raise InvalidScope(f"scope has at most {_MAX_SCOPE} characters")
    named = set(scope.split(" ")) - {"", OFFLINE}
    if unknown := named - set(PERMISSIONS):
        raise InvalidScope(f"scope names permissions, and {len(unknown)} of these do not exist")
    return tuple(name for name in PERMISSIONS if name in named) or otherwise


def scopes_held(principal: Principal, scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``scopes`` that the principal holds somewhere; raises InvalidScope where none is left.

    None at all must never become a token: a token without permissions is one without that limit.
    """
    held = anywhere(reach_of_token(principal, Grant(Scopes(), _teams(principal))))
    left = scopes if held is None else tuple(name for name in scopes if name in held)
    if not left:
        raise InvalidScope("none of these permissions is held by whoever is to grant them")
    return left


def anywhere(reach: Reach) -> frozenset[str] | None:
    """Permissions that count everywhere or in some team; a scope is a ceiling, and may name both."""
    return None if reach.permissions is None else reach.permissions.union(*reach.team_permissions.values())


def narrowed_scopes(grant: GrantRow, scope: str) -> tuple[str, ...]:
    """What ``scope`` leaves of a grant, all of it where it names nothing; raises InvalidScope where it names more."""
    granted = _strings.decode(grant.scopes)
    wanted = scopes_asked(scope, granted)
    if not set(wanted) <= set(granted):
        raise InvalidScope("scope names more than was granted")
    return wanted


def _teams(principal: Principal) -> tuple[str, ...] | None:
    return None if principal.is_admin else principal.teams
