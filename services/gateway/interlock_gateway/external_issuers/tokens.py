"""Whether a token of another authorization server counts, and who its subject is here: decided out of memory.

Which issuer a token is looked at for is its own word; that it is of that issuer is shown by a key of that issuer alone.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

import jwt
import msgspec

from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages.auth import Principal, Scopes, principal_key
from interlock_common.messages.issuers import LinkedIdentity, PinnedKey, TrustedIssuer, identity_key, issuer_key
from interlock_gateway.claims import LEEWAY_SECONDS, Header, check_type, refusal, wrong_audience
from interlock_gateway.errors import TokenMalformed, TokenRejected, TokenSignature
from interlock_gateway.external_issuers.mapping import mapped_principal, require_claims, scopes_of
from interlock_gateway.external_issuers.wanted import WantedKeys

_ACCESS_TOKEN = frozenset({"at+jwt", "application/at+jwt"})
_ID_TOKEN = frozenset({"at_hash", "c_hash"})
_MAX_SUBJECT = 255
_REQUIRED = ["iss", "sub", "aud", "iat", "exp"]


class IssuerKeysPending(Unavailable):
    """The key of the token is not known, and the keys of its issuer are being read anew."""

    code = "issuer_keys_pending"


class IssuerKeysStale(Unavailable):
    """The keys of the issuer could not be read for longer than they count."""

    code = "issuer_keys_stale"


class Lookup[T](Protocol):
    """A mirror, as far as a decision needs it."""

    def get(self, key: str, /) -> T | None: ...


class _Said(msgspec.Struct, frozen=True):
    iss: str = ""


_said = msgspec.json.Decoder(_Said)


@dataclass(frozen=True, slots=True)
class ExternalToken:
    """A token of others that was verified, with what it rests on: it is verified anew once any of that is another.

    ``principal`` is who its claims make of its subject, where it is ``mapped`` rather than ``linked``.
    """

    issuer: TrustedIssuer
    kid: str
    id: str
    name: str
    linked: LinkedIdentity | None
    principal: Principal | None
    scopes: Scopes
    issued_at: float
    expires_at: int
    certificate: str | None

    @property
    def rests_on(self) -> str:
        """What must still be there for work on its behalf to go on, as one word."""
        identity = "" if self.linked is None else identity_key(self.issuer.issuer, self.linked.subject)
        return f"{issuer_key(self.issuer.issuer)}/{identity}/{self.kid}"


class ExternalTokens:
    """Verifies tokens of others by the mirrors of issuers, identities and principals."""

    def __init__(
        self, issuers: Lookup[TrustedIssuer], identities: Lookup[LinkedIdentity], principals: Lookup[Principal],
        clock: Clock, wanted: WantedKeys | None = None,
    ) -> None:  # fmt: skip
        self._issuers = issuers
        self._identities = identities
        self._principals = principals
        self._clock = clock
        self._wanted = wanted
        self._public_keys: dict[tuple[str, str], tuple[PinnedKey, Any]] = {}

    def trusted(self, issuer: str) -> TrustedIssuer | None:
        """The issuer of that name, if its access tokens may count here."""
        found = self._issuers.get(issuer_key(issuer))
        return found if found is not None and found.issuer == issuer and found.audiences else None

    def verified(self, raw: bytes, header: Header, issuer: TrustedIssuer, digest: bytes) -> ExternalToken:
        """A token of ``issuer``; raises an Unauthenticated that names the rule it breaks, or Unavailable."""
        self._require_fresh(issuer)
        key = self._key(issuer, header.kid)
        claims = _claims(raw, key, self._public_key(issuer, key))
        _check_kind(header, claims, issuer)
        if claims["iss"] != issuer.issuer:  # what was read before the signature was verified says the same
            raise TokenRejected("the token does not count: wrong issuer")
        audience = claims["aud"]
        audiences = cast("list[object]", audience) if isinstance(audience, list) else [audience]
        if not any(each in issuer.audiences for each in audiences):
            raise wrong_audience()
        if claims["exp"] - claims["iat"] > issuer.max_lifetime:
            raise TokenRejected("the token does not count: it lives longer than is taken of its issuer")
        require_claims(claims, issuer)
        return self._token(claims, issuer, key, digest)

    def current(self, token: ExternalToken) -> bool:
        """Whether what a token rests on is what it was when it was verified."""
        issuer = token.issuer
        if self._issuers.get(issuer_key(issuer.issuer)) is not issuer:
            return False
        linked = token.linked
        return linked is None or self._identities.get(identity_key(issuer.issuer, linked.subject)) is linked

    def principal(self, token: ExternalToken) -> Principal | None:
        """Who the subject is now; an administrator only where the issuer may make one."""
        self._require_fresh(token.issuer)
        if token.principal is not None:
            return token.principal
        found = self._principals.get(principal_key(token.name))
        if found is not None and found.is_admin and not token.issuer.administrators:
            return msgspec.structs.replace(found, is_admin=False)
        return found

    def counts(self, rests_on: str, name: str, teams: frozenset[str]) -> Principal | None:
        """Who ``name`` is, as long as what a token of theirs rested on is still there."""
        issuer_name, identity, kid = rests_on.split("/", 2)
        issuer = self._issuers.get(issuer_name)
        if issuer is None or not issuer.audiences or not any(key.kid == kid for key in issuer.keys):
            return None
        if not identity:
            return Principal(name, teams=tuple(teams)) if issuer.accounts == "mapped" else None
        linked = self._identities.get(identity)
        return self._principals.get(principal_key(name)) if linked is not None and linked.principal == name else None

    def _token(self, claims: dict[str, Any], issuer: TrustedIssuer, key: PinnedKey, digest: bytes) -> ExternalToken:
        subject, linked, principal = claims["sub"], None, None
        if not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise TokenMalformed(f"the token does not count: sub has 1 to {_MAX_SUBJECT} printable characters")
        if issuer.accounts == "mapped":
            principal = mapped_principal(f"{issuer.name}/{subject}", claims, issuer)
            name = principal.name
        else:
            linked = self._identities.get(identity_key(issuer.issuer, subject))
            if linked is None or (linked.issuer, linked.subject) != (issuer.issuer, subject):
                raise TokenRejected("the token does not count: nobody here is linked to its subject")
            name = linked.principal
        return ExternalToken(
            issuer, key.kid, _id(claims, issuer, digest), name, linked, principal, scopes_of(claims, issuer),
            claims["iat"], claims["exp"], _certificate(claims),
        )  # fmt: skip

    def _require_fresh(self, issuer: TrustedIssuer) -> None:
        if issuer.keys_until <= self._clock.time():
            raise IssuerKeysStale("the keys of the token's issuer could not be read for too long", retry_after=30)

    def _key(self, issuer: TrustedIssuer, kid: str) -> PinnedKey:
        for key in issuer.keys:
            if key.kid == kid:
                return key
        if kid and self._wanted is not None and self._wanted.want(issuer.name, kid):
            raise IssuerKeysPending("the keys of the token's issuer are being read anew", retry_after=1)
        raise TokenSignature("the token is signed by a key that its issuer does not publish")

    def _public_key(self, issuer: TrustedIssuer, key: PinnedKey) -> Any:
        place = (issuer.issuer, key.kid)
        known = self._public_keys.get(place)
        if known is None or known[0] != key:
            made = jwt.PyJWK(msgspec.json.decode(key.jwk, type=dict[str, Any]), key.algorithm).key
            known = self._public_keys[place] = (key, made)
        return known[1]


def issuer_said(raw: bytes) -> str:
    """Of whom a token says that it is, which nobody has verified; empty where it says nothing that can be read."""
    try:
        payload = raw.split(b".", 2)[1]
        return _said.decode(base64.urlsafe_b64decode(payload + b"==")).iss
    except (IndexError, msgspec.DecodeError, ValueError, RecursionError):
        return ""


def is_external(kid: str) -> bool:
    """Whether what a caller's token rests on is of others; the ids of our keys have no slash."""
    return "/" in kid


def _claims(raw: bytes, pinned: PinnedKey, key: Any) -> dict[str, Any]:
    options = cast("Any", {"require": _REQUIRED, "verify_aud": False, "verify_iss": False, "verify_jti": False})
    try:
        claims = jwt.decode(raw, key, algorithms=[pinned.algorithm], leeway=LEEWAY_SECONDS, options=options)
    except jwt.InvalidTokenError as error:
        raise refusal(error) from None
    if not isinstance(claims["iat"], int | float) or not isinstance(claims["exp"], int):
        raise TokenMalformed("the claims of the token do not have the form they must have")
    return claims


def _check_kind(header: Header, claims: dict[str, Any], issuer: TrustedIssuer) -> None:
    """Refuse what is no access token: an ID token says who logged in somewhere else (RFC 9068, section 6)."""
    check_type(header)
    typed = header.typ.lower() in _ACCESS_TOKEN
    if not typed and (issuer.require_access_token_type or _ID_TOKEN & claims.keys()):
        raise TokenMalformed("the token does not count: it is no access token")


def _certificate(claims: dict[str, Any]) -> str | None:
    """The certificate that the token is bound to; one that is bound to anything else does not count (RFC 7800)."""
    bound = claims.get("cnf")
    if bound is None:
        return None
    thumbprint: Any = cast("dict[str, Any]", bound).get("x5t#S256") if isinstance(bound, dict) else None
    if not isinstance(thumbprint, str) or len(cast("dict[str, Any]", bound)) != 1:
        raise TokenRejected("the token does not count: it is bound to what cannot be checked here")
    return thumbprint


def _id(claims: dict[str, Any], issuer: TrustedIssuer, digest: bytes) -> str:
    """What the token is called here; two issuers may give the same ``jti``, and one of ours as well."""
    own = f"{len(issuer.issuer)} {issuer.issuer} {claims.get('jti') or digest.hex()}"
    return f"x-{hashlib.sha256(own.encode()).hexdigest()[:32]}"
