"""Who calls: a bearer token, verified once and then remembered by its hash; what revokes it counts every time.

The algorithm is the one its key is published with, never the one the token names (RFC 8725, section 3.1).
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
import msgspec

from interlock_common.clock import Clock
from interlock_common.messages.auth import Principal, Revocation, SigningKey, principal_key, revocation_key
from interlock_common.messages.common import Actor
from interlock_gateway.errors import TokenExpired, TokenMalformed, TokenMissing, TokenRejected, TokenRevoked

_MAX_TOKEN_BYTES = 8192
_CACHED_TOKENS = 10_000
_LEEWAY_SECONDS = 5


class TokenScopes(msgspec.Struct, frozen=True):
    """The ``scopes`` claim: what the token is limited to."""

    server_id: str | None = None
    permissions: tuple[str, ...] = ()


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    jti: str
    exp: int
    teams: tuple[str, ...] | None = None
    scopes: TokenScopes = TokenScopes()


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token whose signature, issuer, audience and times have been checked."""

    principal: str
    principal_key: str
    key: SigningKey
    id: str
    revocation_key: str
    expires_at: int
    teams: tuple[str, ...] | None
    scopes: TokenScopes


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal that may act now, and how far this credential of theirs reaches.

    ``unrestricted`` callers see every object; others see public objects, those of ``teams`` and their own.
    """

    principal: str
    token_id: str
    expires_at: int
    is_admin: bool
    unrestricted: bool
    teams: frozenset[str]
    permissions: frozenset[str]
    scopes: TokenScopes

    def may(self, permission: str) -> bool:
        """Whether both the principal and the token have ``permission``."""
        held = self.is_admin or permission in self.permissions or "*" in self.permissions
        scoped = self.scopes.permissions
        return held and (not scoped or permission in scoped or "*" in scoped)

    def actor(self) -> Actor:
        """This caller as other services are told of it: an administrator only with a token that is not narrowed."""
        held = ("*",) if self.is_admin else tuple(sorted(self.permissions))
        return Actor(
            principal=self.principal,
            is_admin=self.unrestricted and not self.scopes.permissions,
            teams=tuple(sorted(self.teams)),
            permissions=self.scopes.permissions or held,
            token_id=self.token_id,
        )


class Lookup[T](Protocol):
    """A mirror, as far as a decision needs it."""

    def get(self, key: str, /) -> T | None: ...


class Authenticator:
    """Turns an ``Authorization`` header into a caller, out of memory."""

    def __init__(
        self,
        keys: Lookup[SigningKey],
        principals: Lookup[Principal],
        revocations: Lookup[Revocation],
        *,
        issuer: str,
        audience: str,
        clock: Clock,
    ) -> None:
        self._keys = keys
        self._principals = principals
        self._revocations = revocations
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._public_keys: dict[str, tuple[SigningKey, jwt.PyJWK]] = {}

    def caller(self, authorization: bytes | None) -> Caller:
        """The caller that an ``Authorization`` header names; raises an Unauthenticated error that says why not."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            raise TokenMissing("a bearer token is required")
        token = self._token(authorization[7:].strip())
        if token.expires_at <= self._clock.time():
            raise TokenExpired("the token has expired")
        if self._revocations.get(token.revocation_key) is not None:
            raise TokenRevoked("the token has been revoked")
        principal = self._principals.get(token.principal_key)
        if principal is None or not principal.active:
            raise TokenRejected("the principal of the token is not active")
        return _caller(token, principal)

    def _token(self, raw: bytes) -> VerifiedToken:
        digest = hashlib.sha256(raw).digest()
        token = self._verified.get(digest)
        if token is None or self._keys.get(token.key.kid) != token.key:  # a key that was withdrawn verifies nothing
            token = self._verify(raw)
            self._verified[digest] = token
            if len(self._verified) > _CACHED_TOKENS:
                self._verified.popitem(last=False)
        return token

    def _verify(self, raw: bytes) -> VerifiedToken:
        if len(raw) > _MAX_TOKEN_BYTES:
            raise TokenMalformed(f"the token is over {_MAX_TOKEN_BYTES} bytes")
        try:
            kid = jwt.get_unverified_header(raw).get("kid")
        except jwt.InvalidTokenError:
            raise TokenMalformed("the token is not a JWT") from None
        published, key = self._key(kid)
        try:
            payload = jwt.decode(
                raw,
                key.key,
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "jti", "sub", "iat", "aud", "iss"]},
            )
            claims = msgspec.convert(payload, _Claims)
        except jwt.ExpiredSignatureError:
            raise TokenExpired("the token has expired") from None
        except jwt.InvalidTokenError as error:
            raise TokenRejected(f"the token does not count: {_reason(error)}") from None
        except msgspec.ValidationError:
            raise TokenMalformed("the claims of the token do not have the form of ours") from None
        return VerifiedToken(
            principal=claims.sub,
            principal_key=principal_key(claims.sub),
            key=published,
            id=claims.jti,
            revocation_key=revocation_key(claims.jti),
            expires_at=claims.exp,
            teams=claims.teams,
            scopes=claims.scopes,
        )

    def _key(self, kid: object) -> tuple[SigningKey, jwt.PyJWK]:
        published = self._keys.get(kid) if isinstance(kid, str) else None
        if published is None:
            raise TokenRejected("the token is signed by a key that is not ours")
        known = self._public_keys.get(published.kid)
        if known is None or known[0] != published:
            key = jwt.PyJWK(msgspec.json.decode(published.jwk, type=dict[str, Any]), published.algorithm)
            known = self._public_keys[published.kid] = (published, key)
        return known


def _caller(token: VerifiedToken, principal: Principal) -> Caller:
    if token.teams is None:
        teams = frozenset(principal.teams) if principal.is_admin else frozenset[str]()
    else:
        teams = (
            frozenset(token.teams) & frozenset(principal.teams) if not principal.is_admin else frozenset(token.teams)
        )
    return Caller(
        principal=principal.name,
        token_id=token.id,
        expires_at=token.expires_at,
        is_admin=principal.is_admin,
        unrestricted=principal.is_admin and token.teams is None,
        teams=teams,
        permissions=frozenset(principal.permissions),
        scopes=token.scopes,
    )


def _reason(error: jwt.InvalidTokenError) -> str:
    """The rule that failed, in words that carry nothing of the token itself."""
    kinds = {
        jwt.InvalidSignatureError: "bad signature",
        jwt.InvalidAudienceError: "wrong audience",
        jwt.InvalidIssuerError: "wrong issuer",
        jwt.MissingRequiredClaimError: "a required claim is missing",
        jwt.ImmatureSignatureError: "not valid yet",
        jwt.InvalidAlgorithmError: "wrong algorithm",
    }
    return next((text for kind, text in kinds.items() if isinstance(error, kind)), "malformed")
