"""Who calls: a bearer token, verified once and remembered by its hash; what ends or limits it counts every time."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import jwt
import msgspec

from interlock_common.clock import Clock
from interlock_common.messages.auth import Principal, Scopes, SigningKey, principal_key
from interlock_common.messages.common import Actor
from interlock_gateway.claims import ClaimRules, check_type, read_claims, read_header, wrong_audience
from interlock_gateway.errors import (
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenRejected,
    TokenRevoked,
    TokenSignature,
)
from interlock_gateway.revocations import Revocations, Traces, traces_of
from interlock_gateway.token_scopes import Limits, ScopeGate, limits_of
from interlock_gateway.usage import Uses

_MAX_TOKEN_BYTES = 8192
_CACHED_TOKENS = 10_000
_NOWHERE: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token whose signature, issuer and times have been checked.

    ``audiences`` are those it names where none is this gateway's; it counts at a virtual server that is one of them.
    """

    principal: str
    principal_key: str
    key: SigningKey
    id: str
    traces: Traces
    expires_at: int
    teams: tuple[str, ...] | None
    limits: Limits
    audiences: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal that may act now, and how far this credential of theirs reaches.

    ``unrestricted`` callers see every object; others see public objects, those of ``teams`` and their own. ``traces``
    are by what its token can be revoked.
    """

    principal: str
    token_id: str
    expires_at: int
    is_admin: bool
    unrestricted: bool
    teams: frozenset[str]
    permissions: frozenset[str]
    scopes: Scopes
    traces: Traces | None = None
    team_permissions: Mapping[str, tuple[str, ...]] = _NOWHERE

    @property
    def revoked_with(self) -> tuple[str, ...]:
        """The ids of the tokens with any of which this one is revoked."""
        return (self.token_id,) if self.traces is None else self.traces.ids

    def may(self, permission: str, team: str | None = None) -> bool:
        """Whether both the principal and the token have ``permission``, for what belongs to ``team`` where one is."""
        held = self.is_admin or permission in self.permissions or "*" in self.permissions
        if not held and team is not None:
            held = permission in self.team_permissions.get(team, ())
        scoped = self.scopes.permissions
        return held and (not scoped or permission in scoped or "*" in scoped)

    def actor(self) -> Actor:
        """This caller as other services are told of it: an administrator only with a token that is not narrowed."""
        held = ("*",) if self.is_admin else tuple(sorted(self.permissions))
        scoped = self.scopes.permissions
        if scoped and "*" not in scoped:
            held = tuple(name for name in scoped if self.may(name))
        in_teams = {team: tuple(n for n in names if self.may(n, team)) for team, names in self.team_permissions.items()}
        return Actor(
            principal=self.principal,
            is_admin=self.unrestricted and not self.scopes.permissions,
            teams=tuple(sorted(self.teams)),
            permissions=held,
            token_id=self.token_id,
            team_permissions=in_teams,
        )


class Lookup[T](Protocol):
    """A mirror, as far as a decision needs it."""

    def get(self, key: str, /) -> T | None: ...


class Authenticator:
    """Turns an ``Authorization`` header into a caller, out of memory.

    ``resources`` answers by which identifiers (RFC 8707) a virtual server is an audience of its own; ``require_fresh``
    refuses while it is not known whether a token is revoked.
    """

    def __init__(
        self,
        keys: Lookup[SigningKey],
        principals: Lookup[Principal],
        revocations: Revocations,
        *,
        rules: ClaimRules,
        clock: Clock,
        gate: ScopeGate | None = None,
        resources: Callable[[str], frozenset[str]] = lambda _server_id: frozenset(),
        require_fresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._keys = keys
        self._principals = principals
        self._revocations = revocations
        self._rules = rules
        self._clock = clock
        self._gate = gate or ScopeGate(Uses())
        self._resources = resources
        self._require_fresh = require_fresh
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._public_keys: dict[str, tuple[SigningKey, jwt.PyJWK]] = {}

    def caller(
        self, authorization: bytes | None, address: str | None = None, server_id: str | None = None, *,
        counted: bool = True,
    ) -> Caller:  # fmt: skip
        """The caller that an ``Authorization`` header names, for one request from ``address``.

        Raises an Unauthenticated error that says why there is none, or the refusal of one of the token's scopes.
        A request that is not ``counted`` is none of those that limits speak of.
        """
        if authorization is None or authorization[:7].lower() != b"bearer ":
            raise TokenMissing("a bearer token is required")
        token = self._token(authorization[7:].strip())
        now = self._clock.time()
        if token.expires_at <= now:
            raise TokenExpired("the token has expired")
        principal = self._principals.get(token.principal_key)
        if self._revocations.covers(token.traces, () if principal is None else principal.teams):
            raise TokenRevoked("the token has been revoked")
        if principal is None or not principal.active:
            raise TokenRejected("the principal of the token is not active")
        if token.audiences is not None and not (server_id and token.audiences & self._resources(server_id)):
            raise wrong_audience()
        self._require_fresh()
        limits = self._gate.limits(token.id, token.limits)
        ends = self._gate.admit(token.id, limits, address, now)
        if counted:
            self._gate.uses.count(token.id)
        expires_at = token.expires_at if ends is None else min(token.expires_at, int(ends))
        return _caller(token, principal, limits.scopes, expires_at)

    def counts(self, caller: Caller) -> bool:
        """Whether a caller that was let in would be let in now: its principal, its key and its token still count."""
        principal = self._principals.get(principal_key(caller.principal))
        if principal is None or not principal.active:
            return False
        traces = caller.traces
        if traces is None:
            return True
        return self._keys.get(traces.kid) is not None and not self._revocations.covers(traces, principal.teams)

    def _token(self, raw: bytes) -> VerifiedToken:
        digest = hashlib.sha256(raw).digest()
        token = self._verified.get(digest)
        if token is None or self._keys.get(token.key.kid) != token.key:  # a key that was withdrawn verifies nothing
            token = self._verify(raw, digest)
            self._verified[digest] = token
            if len(self._verified) > _CACHED_TOKENS:
                self._verified.popitem(last=False)
        return token

    def _verify(self, raw: bytes, digest: bytes) -> VerifiedToken:
        if len(raw) > _MAX_TOKEN_BYTES:
            raise TokenMalformed(f"the token is over {_MAX_TOKEN_BYTES} bytes")
        header = read_header(raw)
        published, key = self._key(header.kid)
        claims = read_claims(raw, key, self._rules)
        check_type(header)
        here = not self._rules.verify_audience or self._rules.audience in claims.audiences
        token_id = claims.jti or f"sha256-{digest.hex()}"
        return VerifiedToken(
            principal=claims.sub,
            principal_key=principal_key(claims.sub),
            key=published,
            id=token_id,
            traces=traces_of(
                token_id,
                claims.parents,
                principal=claims.sub,
                teams=claims.teams or (),
                session=claims.sid,
                certificate=claims.certificate,
                issued_at=claims.iat,
                kid=published.kid,
            ),
            expires_at=claims.exp,
            teams=claims.teams,
            limits=limits_of(claims.scopes),
            audiences=None if here else claims.audiences,
        )

    def _key(self, kid: str) -> tuple[SigningKey, jwt.PyJWK]:
        published = self._keys.get(kid)
        if published is None:
            raise TokenSignature("the token is signed by a key that is not ours")
        known = self._public_keys.get(published.kid)
        if known is None or known[0] != published:
            key = jwt.PyJWK(msgspec.json.decode(published.jwk, type=dict[str, Any]), published.algorithm)
            known = self._public_keys[published.kid] = (published, key)
        return known


def _caller(token: VerifiedToken, principal: Principal, scopes: Scopes, expires_at: int) -> Caller:
    if token.teams is None:
        teams = frozenset(principal.teams) if principal.is_admin else frozenset[str]()
    else:
        teams = (
            frozenset(token.teams) & frozenset(principal.teams) if not principal.is_admin else frozenset(token.teams)
        )
    return Caller(
        principal=principal.name,
        token_id=token.id,
        expires_at=expires_at,
        is_admin=principal.is_admin,
        unrestricted=principal.is_admin and token.teams is None,
        teams=teams,
        permissions=frozenset(principal.permissions),
        scopes=scopes,
        traces=token.traces,
        team_permissions=_NOWHERE
        if not principal.team_permissions or principal.is_admin
        else {team: names for team, names in principal.team_permissions.items() if team in teams},
    )
