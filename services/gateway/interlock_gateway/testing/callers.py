"""Who calls an edge in tests: keys and tokens as auth has them, and callers that are checked already."""

from collections.abc import Sequence
from typing import Any, cast

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.auth import Scopes, SigningKey
from interlock_gateway.caller import Caller

ISSUER, AUDIENCE = "test-issuer", "test-audience"
ADA, EVE, ROOT = "ada@example.com", "eve@example.com", "root@example.com"


class Signer:
    """A key pair as auth has one, and tokens signed with it."""

    def __init__(self, algorithm: str = "EdDSA", kid: str = "k1") -> None:
        self.algorithm, self.kid = algorithm, kid
        match algorithm:
            case "EdDSA":
                self.private = ed25519.Ed25519PrivateKey.generate()
            case "ES256":
                self.private = ec.generate_private_key(ec.SECP256R1())
            case _:
                self.private = rsa.generate_private_key(65537, 2048)

    def published(self) -> SigningKey:
        method = cast("Any", get_default_algorithms()[self.algorithm])
        return SigningKey(self.kid, self.algorithm, msgspec.Raw(method.to_jwk(self.private.public_key()).encode()), 0)

    def public_pem(self) -> bytes:
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def token(self, principal: str = ADA, *, without: Sequence[str] = (), **changes: Any) -> str:
        """A good token of ``principal``, but for ``changes`` and the claims ``without``."""
        now = int(SYSTEM_CLOCK.time())
        claims = {"sub": principal, "jti": "t-1", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600}
        said = {name: value for name, value in (claims | changes).items() if name not in without}
        return jwt.encode(said, self.private, self.algorithm, {"kid": self.kid})


def a_caller(name: str = ADA, **changes: Any) -> Caller:
    """A caller with every permission and no team."""
    said: dict[str, Any] = {
        "is_admin": False, "unrestricted": False, "teams": frozenset[str](), "permissions": frozenset({"*"}),
        "scopes": Scopes(), "principal": name, "token_id": "t-1", "expires_at": 2**40,
    }  # fmt: skip
    return Caller(**said | changes)
