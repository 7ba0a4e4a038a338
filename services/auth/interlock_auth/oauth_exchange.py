"""A token for a narrower one (RFC 8693): an agent hands on what its helper needs, and no more.

The new token ends with the one that it was made of, at the latest, and is revoked with it and with all before it.
"""

from typing import Any, cast

import jwt
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.containment import Grant, Reach, reach_of_token, require_contained
from interlock_auth.errors import NotContained
from interlock_auth.models import TokenRow
from interlock_auth.oauth_certificates import confirmation_of, require_certificate
from interlock_auth.oauth_clients import Client
from interlock_auth.oauth_errors import InvalidRequest, InvalidScope, InvalidTarget
from interlock_auth.oauth_grants import LifetimeRules, anywhere, scopes_asked, selectors_of
from interlock_auth.oauth_store import OAuthStore, digest_of
from interlock_auth.outlet import Outlet
from interlock_auth.standing import grant_of, principal_of
from interlock_auth.store import Store
from interlock_auth.tokens import Mint
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.oauth import TokenAnswer, TokenRequest

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - RFC 8693, section 3
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_MAX_TOKEN = 16 * 1024
_MAX_PARENTS = 8
_CARRIED = ("cnf", "sid")
"""What binds the first token to a certificate and to a session binds those that are made of it as well."""


class Narrowing:
    """Makes tokens of tokens."""

    def __init__(self, engine: AsyncEngine, mint: Mint, outlet: Outlet, rules: LifetimeRules, clock: Clock) -> None:
        self._engine = engine
        self._mint = mint
        self._outlet = outlet
        self._rules = rules
        self._clock = clock

    async def exchange(self, request: TokenRequest, client: Client) -> TokenAnswer:
        """A token that opens no more than the one that is shown; raises the errors of RFC 8693, section 2.2.2."""
        _check(request)
        require_certificate(request, asked=client.certificate_bound)
        said = _claims(request.subject_token)
        row, principal = await self._subject(request.subject_token, said)
        held = reach_of_token(principal, grant_of(row))
        grant = _narrowed(request, row, principal, held)
        now = int(self._clock.time())
        lifetime = max(1, min(self._rules.access, row.expires_at - now))
        also: dict[str, Any] = confirmation_of(request.certificate) if client.certificate_bound else {}
        also |= {name: said[name] for name in _CARRIED if name in said}
        also |= {
            "aud": _audience(request, said, self._rules.audience), "client_id": client.id, "act": {"sub": client.id},
            "parent": [row.id, *parents_of(said)],
        }  # fmt: skip
        issued = await self._mint.issue(principal, f"exchanged by {client.name}"[:255], lifetime, grant, also)
        await self._outlet.record(
            "token.exchanged", principal.name, issued.id, subject_token=row.id, client_id=client.id,
            scopes=msgspec.to_builtins(grant.scopes), audience=also["aud"], expires_at=issued.expires_at,
        )  # fmt: skip
        return TokenAnswer(
            issued.token, lifetime, " ".join(grant.scopes.permissions), "Bearer", issued_token_type=ACCESS_TOKEN
        )

    async def _subject(self, token: str, said: dict[str, Any]) -> tuple[TokenRow, Principal]:
        """The token that is shown and whose it is, where it counts; raises InvalidRequest."""
        parents = parents_of(said)
        async with transaction(self._engine) as session:
            store, oauth = Store(session), OAuthStore(session)
            row = await oauth.token_of(digest_of(token))
            owner = None if row is None else await store.principal(row.principal)
            if row is None or owner is None or not owner.active or row.expires_at <= self._clock.time():
                raise InvalidRequest("subject_token is no token of ours that counts")
            principal = principal_of(owner)
            revoked = [await oauth.is_revoked(token_id) for token_id in (row.id, *parents)]
            stopped = await store.covered(_selectors(principal, row, said), row.created_at)
        if any(revoked) or stopped:
            raise InvalidRequest("subject_token is no token of ours that counts")
        if len(parents) >= _MAX_PARENTS:
            raise InvalidRequest(f"a token is handed on at most {_MAX_PARENTS} times")
        return row, principal


def parents_of(claims: dict[str, Any]) -> tuple[str, ...]:
    """The ids of the tokens that one was made of, the nearest first."""
    return tuple(map(str, cast("list[object]", claims.get("parent", []))))


def parents_of_token(token: str) -> tuple[str, ...]:
    """The same of a token that is known to be ours."""
    return parents_of(_claims(token))


def certificate_of_token(token: str) -> str | None:
    """The certificate that a token is bound to which is known to be ours."""
    return cast("dict[str, str]", _claims(token).get("cnf", {})).get("x5t#S256")


def _selectors(principal: Principal, row: TokenRow, said: dict[str, Any]) -> list[tuple[str, str]]:
    """The selectors of revocations that cover a token."""
    teams = grant_of(row).teams or ()
    bound = [("session", str(said["sid"]))] if "sid" in said else []
    thumbprint = said.get("cnf", {}).get("x5t#S256")
    bound += [("certificate", str(thumbprint))] if thumbprint else []
    return [*selectors_of(principal), *(("team", team) for team in teams), *bound]


def _check(request: TokenRequest) -> None:
    if not request.subject_token or len(request.subject_token) > _MAX_TOKEN:
        raise InvalidRequest("subject_token is missing, or too long")
    if request.subject_token_type not in {ACCESS_TOKEN, _JWT}:
        raise InvalidRequest(f"subject_token_type is {ACCESS_TOKEN}")
    if request.requested_token_type not in {"", ACCESS_TOKEN, _JWT}:
        raise InvalidRequest(f"requested_token_type is {ACCESS_TOKEN}")
    if request.actor_token:
        raise InvalidRequest("actor_token is not taken: the actor is the client")


def _claims(token: str) -> dict[str, Any]:
    """What a token says; that it is ours is known by its SHA-256 before anything is made of it."""
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        raise InvalidRequest("subject_token is no token of ours that counts") from None


def _narrowed(request: TokenRequest, row: TokenRow, principal: Principal, held: Reach) -> Grant:
    """What the new token is to open, which the old one does as well; raises InvalidTarget and InvalidScope."""
    grant = grant_of(row)
    had = grant.scopes
    if request.resource and had.server_id not in {None, request.server_id}:
        raise InvalidTarget("resource is not one that subject_token opens")
    opened = anywhere(held)
    asked = scopes_asked(request.scope)
    missing = () if opened is None else tuple(name for name in asked if name not in opened)
    if request.scope and missing:
        raise InvalidScope(f"subject_token does not open {', '.join(missing)}")
    permissions = tuple(name for name in asked if name not in missing)
    if not permissions:  # a token without permissions would be one without that limit
        raise InvalidScope("subject_token opens none of these permissions")
    scopes = Scopes(
        request.server_id if request.resource else had.server_id, permissions, had.ip_restrictions,
        had.time_restrictions,
    )  # fmt: skip
    narrowed = Grant(scopes, grant.teams)
    try:
        require_contained(principal, held, narrowed)
    except NotContained as error:
        raise InvalidRequest(error.detail) from None
    return narrowed


def _audience(request: TokenRequest, said: dict[str, Any], own: str) -> Any:
    """For whom it is: the resource that is named, else whoever the old token is for."""
    if not request.resource:
        return said["aud"]
    return [request.resource] if request.server_id is not None else [request.resource, own]
