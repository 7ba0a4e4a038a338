"""Authorization servers of others, and clients that sign: each with a key of its own, some under the same name."""

import json
import threading
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from interlock_common.clock import SYSTEM_CLOCK

KID = "signing-1"


@dataclass
class Signer:
    """A key, and what it signs."""

    kid: str = KID
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def jwk(self) -> dict[str, Any]:
        return {
            **OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True),
            "kid": self.kid,
            "alg": "EdDSA",
            "use": "sig",
        }

    def sign(self, claims: Mapping[str, Any], **headers: object) -> str:
        """``…`` leaves a claim or a header out."""
        now = int(SYSTEM_CLOCK.time())
        said = {"iat": now, "exp": now + 240, "jti": str(uuid.uuid4())} | dict(claims)
        head: dict[str, Any] = {"kid": self.kid, "typ": "at+jwt"} | headers
        return jwt.encode(_without(said), self.key, "EdDSA", headers=_without(head))


@dataclass
class Issuer(Signer):
    """An OpenID provider at ``url``; its token endpoint answers with ``id_token``."""

    url: str = ""
    id_token: str = ""

    def token(self, *, by: Signer | None = None, headers: Mapping[str, object] | None = None, **claims: object) -> str:
        """An access token for the gateway, signed with the key of ``by`` where that is somebody else."""
        said = {"iss": self.url, "aud": AUDIENCE, "sub": SUBJECT} | claims
        return (by or self).sign(said, **dict(headers or {}))


AUDIENCE = "https://gateway.attacks.example/mcp"
SUBJECT = "8f2e-alice"


@contextmanager
def serving(issuer: Issuer) -> Generator[Issuer]:
    """Publish its metadata and its key over HTTP on this machine."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            described = {
                "issuer": issuer.url, "jwks_uri": f"{issuer.url}/jwks", "token_endpoint": f"{issuer.url}/token",
                "authorization_endpoint": f"{issuer.url}/authorize",
                "authorization_response_iss_parameter_supported": True,
            }  # fmt: skip
            known: dict[str, Any] = {
                "/.well-known/openid-configuration": described,
                "/jwks": {"keys": [issuer.jwk]},
            }
            self._answer(known.get(self.path))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer({"access_token": "x", "token_type": "Bearer", "id_token": issuer.id_token})

        def _answer(self, said: dict[str, Any] | None) -> None:
            body = json.dumps(said).encode()
            self.send_response(404 if said is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()


def _without(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not ...}
