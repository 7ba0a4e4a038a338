"""What a token says, and whether that fits here: each rule has an error of its own.

The algorithm is the one its key is published with, never the one the token names (RFC 8725, section 3.1).
"""

import base64
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec

from interlock_common.messages.auth import Scopes
from interlock_gateway.errors import (
    TokenAudience,
    TokenEnvironment,
    TokenExpired,
    TokenIssuer,
    TokenMalformed,
    TokenNotYetValid,
    TokenRejected,
    TokenSignature,
)

NEVER = 2**53 - 1
"""An end that never comes."""
LEEWAY_SECONDS = 5
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What tokens must say, as the settings ``JWT_…``, ``REQUIRE_…`` and ``VALIDATE_…`` have it.

    ``environment`` is the one that a token may name, None for whichever.
    """

    issuer: str
    audience: str
    verify_issuer: bool = True
    verify_audience: bool = True
    require_expiration: bool = True
    require_jti: bool = True
    environment: str | None = None

    @property
    def required(self) -> list[str]:
        """The claims without which a token is not looked at."""
        optional = {
            "exp": self.require_expiration,
            "jti": self.require_jti,
            "iss": self.verify_issuer,
            "aud": self.verify_audience,
        }
        return ["sub", "iat", *(name for name, needed in optional.items() if needed)]


class Claims(msgspec.Struct, frozen=True):
    """The claims of a token of ours."""

    sub: str
    iat: int | float
    jti: str = ""
    exp: int = NEVER
    iss: str = ""
    aud: str | tuple[str, ...] = ()
    env: str | None = None
    teams: tuple[str, ...] | None = None
    scopes: Scopes = Scopes()
    sid: str | None = None
    parent: str | tuple[str, ...] = ()
    cnf: dict[str, Any] = {}

    @property
    def parents(self) -> tuple[str, ...]:
        """The ids of the tokens it was exchanged from, the nearest first; revoked with any of them."""
        return (self.parent,) if isinstance(self.parent, str) else self.parent

    @property
    def certificate(self) -> str | None:
        """The certificate it is bound to (RFC 8705, section 3.1); raises TokenMalformed for any other proof (RFC 7800).

        Passing over what cannot be checked would open to everybody what is somebody's alone.
        """
        if not self.cnf:
            return None
        thumbprint = self.cnf.get("x5t#S256")
        if len(self.cnf) != 1 or not isinstance(thumbprint, str):
            raise TokenMalformed("the token asks for a proof of possession that is not known here")
        return thumbprint

    @property
    def audiences(self) -> frozenset[str]:
        return frozenset({self.aud} if isinstance(self.aud, str) else self.aud)


def read_claims(raw: bytes, key: jwt.PyJWK, rules: ClaimRules) -> Claims:
    """The claims of a token that ``key`` signed; raises an Unauthenticated that names the rule it breaks.

    Whether the audience fits is said by ``fits_audience``: it depends on where the token is used.
    """
    try:
        payload = jwt.decode(
            raw,
            key.key,
            algorithms=[key.algorithm_name],
            leeway=LEEWAY_SECONDS,
            options={"require": rules.required, "verify_aud": False, "verify_iss": False},
        )
        claims = msgspec.convert(payload, Claims)
    except jwt.InvalidTokenError as error:
        raise refusal(error) from None
    except msgspec.ValidationError:
        raise TokenMalformed("the claims of the token do not have the form of ours") from None
    if rules.verify_issuer and claims.iss != rules.issuer:
        raise TokenIssuer("the token does not count: wrong issuer")
    if rules.environment is not None and claims.env is not None and claims.env != rules.environment:
        raise TokenEnvironment("the token is of another environment")
    return claims


class Header(msgspec.Struct, frozen=True):
    """What is taken from the header before the signature is verified: which key to verify it with."""

    kid: str = ""
    typ: str = "JWT"


_header = msgspec.json.Decoder(Header)


def read_header(raw: bytes) -> Header:
    """The header of a token that nobody has verified yet."""
    try:
        return _header.decode(base64.urlsafe_b64decode(raw.partition(b".")[0] + b"=="))
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise TokenMalformed("the token is not a JWT") from None


def check_type(header: Header) -> None:
    """Refuse what is signed by the same keys and is no access token (RFC 8725, section 3.11)."""
    if header.typ.lower() not in _TYPES:
        raise TokenMalformed("the token does not count: it is no access token")


def wrong_audience() -> TokenAudience:
    return TokenAudience("the token does not count: wrong audience")


def refusal(error: jwt.InvalidTokenError) -> TokenRejected | TokenExpired | TokenMalformed:
    """The rule that failed, in words that carry nothing of the token itself."""
    if isinstance(error, jwt.ExpiredSignatureError):
        return TokenExpired("the token has expired")
    if isinstance(error, jwt.ImmatureSignatureError):
        return TokenNotYetValid("the token does not count: not valid yet")
    if isinstance(error, jwt.InvalidAlgorithmError):
        return TokenSignature("the token does not count: wrong algorithm")
    if isinstance(error, jwt.InvalidSignatureError):
        return TokenSignature("the token does not count: bad signature")
    if isinstance(error, jwt.MissingRequiredClaimError):
        return TokenMalformed("the token does not count: a required claim is missing")
    return TokenMalformed("the token does not count: malformed")
