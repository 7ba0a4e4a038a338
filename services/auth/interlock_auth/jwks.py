"""Public keys as others publish them (RFC 7517), each pinned to the one algorithm that it verifies (RFC 8725, 3.1)."""

from typing import Any, cast

import jwt
import msgspec

from interlock_auth.errors import KeysUnusable
from interlock_common.messages.issuers import PinnedKey

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""What others may sign with: nothing that whoever verifies could sign with as well."""
MAX_KEYS = 32
MAX_BYTES = 64 * 1024
LEEWAY = 5
"""Seconds by which clocks may differ."""
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_MAX_KID = 256
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_MEMBERS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})


class _Document(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


def read_keys(document: bytes, algorithms: tuple[str, ...] = ALGORITHMS) -> tuple[PinnedKey, ...]:
    """The keys of a JWK Set that sign with one of ``algorithms``; others are passed over.

    Raises KeysUnusable for a document that is none, for keys that share an id, and where nothing is left.
    """
    if len(document) > MAX_BYTES:
        raise KeysUnusable(f"a JWK Set has at most {MAX_BYTES} bytes")
    try:
        found = msgspec.json.decode(document, type=_Document).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise KeysUnusable("this is no JWK Set") from None
    if len(found) > MAX_KEYS:
        raise KeysUnusable(f"a JWK Set has at most {MAX_KEYS} keys")
    if any(_PRIVATE & key.keys() for key in found):
        raise KeysUnusable("the JWK Set has a private or a shared key in it, which so is a secret no more")
    pinned = [key for each in found if (key := _pinned(each, algorithms)) is not None]
    if len({key.kid for key in pinned}) != len(pinned):
        raise KeysUnusable("two keys of the JWK Set have the same kid")
    if not pinned:
        raise KeysUnusable(f"no key of the JWK Set has a kid and signs with {', '.join(algorithms)}")
    return tuple(pinned)


def public_key(key: PinnedKey) -> Any:
    """The key itself, to verify with."""
    return jwt.PyJWK(msgspec.json.decode(key.jwk, type=dict[str, Any]), key.algorithm).key


def _pinned(jwk: dict[str, Any], algorithms: tuple[str, ...]) -> PinnedKey | None:
    """The key as it is published, without what else was said of it; None for one that is not for this."""
    kid, operations = jwk.get("kid"), jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (operations is not None and operations != ["verify"]):
        return None
    if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID or not kid.isprintable():
        return None
    algorithm = _algorithm(jwk, algorithms)
    if algorithm is None:
        return None
    public = {name: jwk.get(name) for name in _MEMBERS[jwk["kty"]]}
    try:
        key = jwt.PyJWK(cast("dict[str, Any]", public), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if jwk["kty"] == "RSA" and not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        return None
    return PinnedKey(kid, algorithm, msgspec.Raw(msgspec.json.encode(public)))


def _algorithm(jwk: dict[str, Any], algorithms: tuple[str, ...]) -> str | None:
    """The one algorithm of a key: what it says, or where it says nothing the first that fits its kind."""
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            fitting = [name for name in algorithms if name[:2] in {"RS", "PS"}]
        case "EC", str(curve):
            fitting = [name for name in algorithms if name == _CURVES.get(curve)]
        case "OKP", "Ed25519":
            fitting = [name for name in algorithms if name == "EdDSA"]
        case _:
            return None
    said = jwk.get("alg")
    if said == "Ed25519":  # RFC 9864 names what RFC 8037 called EdDSA
        said = "EdDSA"
    if said is None:
        return fitting[0] if fitting else None
    return said if isinstance(said, str) and said in fitting else None


class UnknownKey(jwt.InvalidTokenError):
    """The key that a token names is none of those that count."""


def claims_signed_by(keys: tuple[PinnedKey, ...], token: str) -> dict[str, Any]:
    """What a token says that one of ``keys`` signed, by the algorithm of that key; raises jwt.InvalidTokenError.

    When it counts, for whom and from whom is for the caller to check. A token that names no key may come from the one
    whose only key this is.
    """
    kid = jwt.get_unverified_header(token).get("kid")
    fitting = keys if kid is None and len(keys) == 1 else tuple(key for key in keys if key.kid == kid)
    if not fitting:
        raise UnknownKey("the token is signed by a key that is not known")
    unchecked = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
    options = cast("Any", unchecked)
    return jwt.decode(token, public_key(fitting[0]), algorithms=[fitting[0].algorithm], options=options)


def counts_now(claims: dict[str, Any], now: float) -> bool:
    """Whether the times that a token must say (``exp``, ``iat``) and may say (``nbf``) let it count."""
    moments = [claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)]
    said = [moment for moment in moments if isinstance(moment, int | float)]
    if len(said) != len(moments):
        return False
    expires, issued, begins = said
    return expires > now - LEEWAY and max(issued, begins) <= now + LEEWAY
