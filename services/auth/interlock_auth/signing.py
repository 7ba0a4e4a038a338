"""Key material: made, read and kept here; the only module that touches private keys.

A key id is the RFC 7638 thumbprint of the public key, so one key has one id wherever it is seen. Each key is
pinned to one algorithm (RFC 7518, section 3.1).
"""

import base64
import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from interlock_auth.errors import KeyUnusable

Algorithm = Literal["EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "HS256"]
type PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MIN_SECRET_LENGTH = 32
_RSA_BITS = 3072
_MIN_RSA_BITS = 2048
_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_THUMBPRINT_MEMBERS = {
    "OKP": ("crv", "kty", "x"),
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
    "oct": ("k", "kty"),
}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, repr=False)
class SigningPair:
    """A key that can sign: its private half (for HS256 the secret) and the JWK that others may know."""

    kid: str
    algorithm: Algorithm
    private: PrivateKey | bytes
    jwk: dict[str, str]

    def __repr__(self) -> str:
        return f"SigningPair(kid={self.kid!r}, algorithm={self.algorithm!r})"


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638: SHA-256 over the required members, sorted, without white space; base64url."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return _base64url(hashlib.sha256(canonical).digest())


def pair_of(private: PrivateKey, algorithm: Algorithm, origin: str) -> SigningPair:
    """The pair of a private key, once it is sure that the key is fit for ``algorithm``."""
    jwk = _public_jwk(private, algorithm, origin)
    kid = thumbprint(jwk)
    return SigningPair(kid, algorithm, private, {**jwk, "kid": kid, "alg": algorithm, "use": "sig"})


def generate(algorithm: Algorithm) -> SigningPair:
    """A new pair; RSA takes a noticeable part of a second."""
    private: PrivateKey
    if algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    elif algorithm in _CURVES:
        private = ec.generate_private_key(_CURVES[algorithm])
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return pair_of(private, algorithm, "a new key")


def secret_pair(secret: str, *, development: bool) -> SigningPair:
    """The pair of a shared secret (HS256); its JWK leaves the secret out."""
    if not secret:
        raise KeyUnusable("JWT_ALGORITHM HS256 needs JWT_SECRET_KEY")
    if len(secret) < MIN_SECRET_LENGTH and not development:
        raise KeyUnusable(f"JWT_SECRET_KEY must have at least {MIN_SECRET_LENGTH} characters outside development")
    raw = secret.encode()
    kid = thumbprint({"kty": "oct", "k": _base64url(raw)})
    return SigningPair(kid, "HS256", raw, {"kty": "oct", "kid": kid, "alg": "HS256", "use": "sig"})


def secret_jwk(pair: SigningPair) -> dict[str, str]:
    """The JWK of a shared secret with the secret in it: whoever reads it can sign."""
    if not isinstance(pair.private, bytes):
        raise TypeError(f"{pair.kid} is no shared secret")
    return {**pair.jwk, "k": _base64url(pair.private)}


def read_pair(path: Path, algorithm: Algorithm, public_path: Path | None = None) -> SigningPair:
    """The pair of a PEM private key that an operator brought; ``public_path`` must hold its public half."""
    pair = pair_of(_read_private(path, "JWT_PRIVATE_KEY_PATH"), algorithm, f"JWT_PRIVATE_KEY_PATH {path}")
    if public_path is not None:
        try:
            public = serialization.load_pem_public_key(public_path.read_bytes())
        except (OSError, ValueError) as error:
            raise KeyUnusable(f"JWT_PUBLIC_KEY_PATH {public_path} holds no readable PEM public key") from error
        if isinstance(pair.private, bytes) or public != pair.private.public_key():
            raise KeyUnusable(f"JWT_PUBLIC_KEY_PATH {public_path} does not belong to JWT_PRIVATE_KEY_PATH {path}")
    return pair


class KeyFolder:
    """Private keys as ``<kid>.pem`` (PKCS #8), readable by their owner only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, pair: SigningPair) -> None:
        """Write the private half so that it is there completely or not at all, never readable by others."""
        if isinstance(pair.private, bytes):
            raise TypeError("a shared secret is not kept as a file")
        pem = pair.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._path(pair.kid)
        scratch = target.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(target)

    def holds(self, kid: str) -> bool:
        return self._path(kid).is_file()

    def load(self, kid: str, algorithm: Algorithm) -> SigningPair:
        path = self._path(kid)
        pair = pair_of(_read_private(path, "KEY_DIR"), algorithm, f"KEY_DIR {path}")
        if pair.kid != kid:
            raise KeyUnusable(f"KEY_DIR {path} holds another key than its name says")
        return pair

    def discard(self, kid: str) -> None:
        self._path(kid).unlink(missing_ok=True)

    def _path(self, kid: str) -> Path:
        return self._directory / f"{kid}.pem"


def _read_private(path: Path, setting: str) -> PrivateKey:
    try:
        mode = path.stat().st_mode
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyUnusable(f"{setting} {path} cannot be read: {error.strerror}") from None
    except (TypeError, ValueError):
        raise KeyUnusable(f"{setting} {path} holds no readable, unencrypted PEM private key") from None
    if mode & stat.S_IROTH:
        # Refusing would break secrets mounted by container engines, which are world-readable by default.
        _log.warning("private key is readable by every local user", setting=setting, path=str(path))
    if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise KeyUnusable(f"{setting} {path} is neither an Ed25519, an EC nor an RSA key")
    return private


def _public_jwk(private: PrivateKey, algorithm: Algorithm, origin: str) -> dict[str, str]:
    public = private.public_key()
    if algorithm == "EdDSA" and isinstance(public, ed25519.Ed25519PublicKey):
        return _members(OKPAlgorithm.to_jwk, public)
    curve = _CURVES.get(algorithm)
    if curve is not None and isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name == curve.name:
        return _members(ECAlgorithm.to_jwk, public)
    if algorithm.startswith("RS") and isinstance(public, rsa.RSAPublicKey):
        if public.key_size < _MIN_RSA_BITS:
            raise KeyUnusable(f"{origin} has {public.key_size} bits, fewer than {_MIN_RSA_BITS}")
        return _members(RSAAlgorithm.to_jwk, public)
    raise KeyUnusable(f"{origin} is not fit for JWT_ALGORITHM {algorithm}")


def _members(to_jwk: Callable[..., Any], public: object) -> dict[str, str]:
    """The members of a JWK that say which key it is, without what PyJWT adds for its own use."""
    jwk = cast("dict[str, str]", to_jwk(public, as_dict=True))
    return {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
