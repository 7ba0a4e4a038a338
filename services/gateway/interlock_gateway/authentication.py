"""Who calls: a bearer token, verified once and remembered by its hash; what ends or limits it counts every time."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
import msgspec

from interlock_common.clock import Clock
from interlock_common.messages.auth import Principal, Scopes, SigningKey, principal_key
from interlock_gateway.caller import Caller, caller_by_name, caller_by_token
from interlock_gateway.certificates.errors import CertificateRevoked, CredentialsDisagree, IdentityUnknown, TokensOff
from interlock_gateway.certificates.identities import Identities, Named, nobody_identified
from interlock_gateway.certificates.shown import Shown
from interlock_gateway.claims import ClaimRules, check_type, read_claims, read_header, wrong_audience
from interlock_gateway.errors import (
    TokenExpired,
    TokenIssuer,
    TokenMalformed,
    TokenMissing,
    TokenRejected,
    TokenRevoked,
    TokenSignature,
)
from interlock_gateway.external_issuers.tokens import ExternalToken, ExternalTokens, is_external, issuer_said
from interlock_gateway.revocations import Revocations, Traces, traces_of
from interlock_gateway.token_scopes import Limits, ScopeGate, limits_of
from interlock_gateway.usage import Uses

_MAX_TOKEN_BYTES = 8192
_CACHED_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token whose signature, issuer and times have been checked.

    ``audiences`` are those it names where none is this gateway's; it counts at a virtual server that is one of them.
    ``bound_to`` is the certificate without which it does not count (``x5t#S256``). A token of another authorization
    server is ``external``, and has no ``key`` of ours.
    """

    principal: str
    principal_key: str
    key: SigningKey | None
    id: str
    traces: Traces
    expires_at: int
    teams: tuple[str, ...] | None
    limits: Limits
    audiences: frozenset[str] | None
    bound_to: str | None = None
    external: ExternalToken | None = None


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
        identities: Identities | None = None,
        external: ExternalTokens | None = None,
    ) -> None:
        self._keys = keys
        self._principals = principals
        self._revocations = revocations
        self._rules = rules
        self._clock = clock
        self._gate = gate or ScopeGate(Uses())
        self._resources = resources
        self._require_fresh = require_fresh
        self._identities = identities or nobody_identified(clock)
        self._external = external
        self._verified: OrderedDict[bytes, VerifiedToken] = OrderedDict()
        self._public_keys: dict[str, tuple[SigningKey, jwt.PyJWK]] = {}

    def caller(
        self, authorization: bytes | None, address: str | None = None, server_id: str | None = None, *,
        counted: bool = True, shown: Shown | None = None,
    ) -> Caller:  # fmt: skip
        """The caller that an ``Authorization`` header names, or what is ``shown``, for one request from ``address``.

        Raises an Unauthenticated error that says why there is none, or the refusal of one of the token's scopes.
        A request that is not ``counted`` is none of those that limits speak of. Where a token and something else name
        a principal, both must name the same; the token then says how far it reaches.
        """
        named = None if shown is None else self._identities.named(shown)
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return self._by_name(shown, named, server_id)
        if shown is not None and shown.tokens_off:
            raise TokensOff("tokens are not taken here any more: show a certificate, and no token")
        token = self._token(authorization[7:].strip())
        now = self._clock.time()
        if token.expires_at <= now:
            raise TokenExpired("the token has expired")
        principal = self._principal(token)
        if self._revocations.covers(token.traces, () if principal is None else principal.teams):
            raise TokenRevoked("the token has been revoked")
        if token.bound_to is not None:
            self._identities.bindings.check(token.bound_to, None if shown is None else shown.certificate)
        if principal is None or not principal.active:
            raise TokenRejected("the principal of the token is not active")
        if token.audiences is not None and not (server_id and token.audiences & self._resources(server_id)):
            raise wrong_audience()
        if named is not None and named.principal != principal.name:
            raise CredentialsDisagree("the token and the certificate, or the proxy, name different principals")
        self._require_fresh()
        limits = self._gate.limits(token.id, token.limits)
        ends = self._gate.admit(token.id, limits, address, now)
        if counted:
            self._count(token, principal, named)
        expires_at = token.expires_at if ends is None else min(token.expires_at, int(ends))
        scopes = limits.scopes if named is None else self._identities.narrowed(named, limits.scopes, server_id)
        teams = token.teams if token.external is None or principal.is_admin else principal.teams
        return caller_by_token(
            principal, token.id, token.traces, scopes, teams, expires_at,
            None if shown is None else shown.certificate, bound=token.bound_to is not None,
        )  # fmt: skip

    def _count(self, token: VerifiedToken, principal: Principal, named: Named | None) -> None:
        self._identities.used.count(principal.name, "token" if named is None else "both")
        if token.external is None:
            self._gate.uses.count(token.id)

    def check_shown(self, shown: Shown) -> None:
        """Raise whatever keeps what is shown besides a token from counting."""
        self._identities.named(shown)

    def counts(self, caller: Caller) -> bool:
        """Whether a caller that was let in would be let in now: its principal, its key and its token still count."""
        peer, traces = caller.certificate, caller.traces
        if traces is not None and self._external is not None and is_external(traces.kid):
            principal = self._external.counts(traces.kid, caller.principal, caller.teams)
        else:
            principal = self._principals.get(principal_key(caller.principal))
        if principal is None or not principal.active:
            return False
        if peer is not None and not self._identities.counts(caller.principal, peer):
            return False
        if traces is None:
            return True
        if caller.has_token and not is_external(traces.kid) and self._keys.get(traces.kid) is None:
            return False
        return not self._revocations.covers(traces, principal.teams)

    def _by_name(self, shown: Shown | None, named: Named | None, server_id: str | None) -> Caller:
        """The caller of a request without a token."""
        if named is None:
            missing = None if shown is None else shown.missing
            raise missing or TokenMissing("a bearer token is required")
        principal = self._principals.get(principal_key(named.principal))
        if self._revocations.covers(named.traces, () if principal is None else principal.teams):
            raise CertificateRevoked("what was issued to the principal until then has been revoked")
        if principal is None or not principal.active:
            raise IdentityUnknown("the certificate, or the proxy, names no active principal")
        self._require_fresh()
        scopes = self._identities.narrowed(named, Scopes(), server_id)
        self._identities.used.count(principal.name, "proxy" if named.certificate is None else "certificate")
        return caller_by_name(principal, named, scopes)

    def _token(self, raw: bytes) -> VerifiedToken:
        digest = hashlib.sha256(raw).digest()
        token = self._verified.get(digest)
        if token is None or not self._current(token):
            token = self._verify(raw, digest)
            self._verified[digest] = token
            if len(self._verified) > _CACHED_TOKENS:
                self._verified.popitem(last=False)
        return token

    def _current(self, token: VerifiedToken) -> bool:
        """Whether what verified the token is still there: a key that was withdrawn verifies nothing."""
        if token.key is not None:
            return self._keys.get(token.key.kid) == token.key
        return token.external is not None and self._external is not None and self._external.current(token.external)

    def _principal(self, token: VerifiedToken) -> Principal | None:
        if token.external is not None and self._external is not None:
            return self._external.principal(token.external)
        return self._principals.get(token.principal_key)

    def _verify(self, raw: bytes, digest: bytes) -> VerifiedToken:
        if len(raw) > _MAX_TOKEN_BYTES:
            raise TokenMalformed(f"the token is over {_MAX_TOKEN_BYTES} bytes")
        header = read_header(raw)
        issuer = issuer_said(raw)
        if issuer and issuer != self._rules.issuer:
            trusted = None if self._external is None else self._external.trusted(issuer)
            if self._external is not None and trusted is not None:
                return _of_others(self._external.verified(raw, header, trusted, digest))
            if self._keys.get(header.kid) is None:
                raise TokenIssuer("the token does not count: wrong issuer")
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
            bound_to=claims.certificate,
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


def _of_others(token: ExternalToken) -> VerifiedToken:
    return VerifiedToken(
        principal=token.name,
        principal_key=principal_key(token.name),
        key=None,
        id=token.id,
        traces=traces_of(
            token.id, (), principal=token.name, teams=(), session=None, certificate=token.certificate,
            issued_at=token.issued_at, kid=token.rests_on,
        ),
        expires_at=token.expires_at,
        teams=None,
        limits=limits_of(token.scopes),
        audiences=None,
        bound_to=token.certificate,
        external=token,
    )  # fmt: skip
