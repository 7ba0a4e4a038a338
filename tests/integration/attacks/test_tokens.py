"""Tokens that are forged, stretched or stale open nothing, on MCP or REST; the code is that of the broken rule."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import OKPAlgorithm

from interlock_common.clock import SYSTEM_CLOCK
from stories.attack_table import Expected
from stories.attackers import Forger, Ground, bearer, marked

type Forge = Callable[[Forger], str]

_OWN = Ed25519PrivateKey.generate()


def encoded(part: dict[str, Any] | bytes) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(forger: Forger, secret: bytes, **headers: object) -> str:
    head = {"alg": "HS256", "typ": "at+jwt", "kid": forger.kid, **headers}
    signed = f"{encoded(head)}.{encoded(dict(forger.claims))}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def unsigned(algorithm: str) -> Forge:
    def forge(forger: Forger) -> str:
        head = {"alg": algorithm, "typ": "at+jwt", "kid": forger.kid}
        return f"{encoded(head)}.{encoded(dict(forger.claims))}."

    return forge


def confused(encoding: Encoding, form: PublicFormat) -> Forge:
    """HS256 with the public key, which everybody knows, as the secret."""
    return lambda forger: hs256(forger, forger.key.public_key().public_bytes(encoding, form))


def without_kid(forger: Forger) -> str:
    token = jwt.encode(dict(forger.claims), forger.key, "EdDSA", headers={"typ": "at+jwt"})
    assert "kid" not in jwt.get_unverified_header(token)
    return token


def with_kid(kid: object) -> Forge:
    """Signed with nothing, by a key that the header leads to."""
    return lambda forger: hs256(forger, b"", kid=kid)


def own_key(**headers: object) -> Forge:
    """Signed by the attacker, whose key the header offers, under the kid of the deployment."""

    def forge(forger: Forger) -> str:
        return Forger(_OWN, forger.kid, forger.claims).token(headers=headers)

    return forge


def saying(**changes: object) -> Forge:
    """Rightly signed, and wrong in what it says; `…` leaves a claim out."""

    def forge(forger: Forger) -> str:
        left_out = next((name for name, value in changes.items() if value is ...), "")
        return forger.token({name: value for name, value in changes.items() if value is not ...}, without=left_out)

    return forge


def later(seconds: int) -> int:
    return int(SYSTEM_CLOCK.time()) + seconds


def spliced(forger: Forger) -> str:
    """The administrator's claims over the signature of another token."""
    other = forger.token({"sub": "somebody@example.com"}).rpartition(".")[2]
    return f"{forger.token().rpartition('.')[0]}.{other}"


_JWK: dict[str, Any] = json.loads(OKPAlgorithm.to_jwk(_OWN.public_key()))
_URL = "https://attacker.example/keys.json"

SIGNATURES: dict[str, Forge] = {
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg nOnE": unsigned("nOnE"),
    "alg empty": unsigned(""),
    "HS256 with the public PEM": confused(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "HS256 with the public DER": confused(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "HS256 with the raw public key": confused(Encoding.Raw, PublicFormat.Raw),
    "HS256 with the public JWK": lambda f: hs256(f, OKPAlgorithm.to_jwk(f.key.public_key()).encode()),
    "HS256 with the kid": lambda f: hs256(f, f.kid.encode()),
    "kid a path": with_kid("../../../../dev/null"),
    "kid a file": with_kid("/proc/sys/kernel/randomize_va_space"),
    "kid SQL": with_kid("x' UNION SELECT '' --"),
    "kid a URL": with_kid(_URL),
    "kid unknown": with_kid(str(uuid.uuid4())),
    "kid a wildcard": with_kid(">"),
    "kid with a NUL": with_kid("\x00"),
    "kid empty": with_kid(""),
    "no kid": without_kid,
    "kid of a key that did not sign": own_key(),
    "jwk of the attacker": own_key(jwk=_JWK),
    "jwk of the attacker with a kid of its own": own_key(jwk=_JWK, kid="mine"),
    "jku of the attacker": own_key(jku=_URL),
    "x5u of the attacker": own_key(x5u=_URL),
    "x5c of the attacker": own_key(x5c=["MIIB"]),
    "signature of another token": spliced,
    "signature stripped": lambda f: f"{f.token().rpartition('.')[0]}.",
    "signature cut": lambda f: f.token()[:-2],
    "claims exchanged": lambda f: ".".join((*f.token().split(".")[:1], encoded(dict(f.claims) | {"sub": "x"}), "AA")),
    "teams added": lambda f: _with_claims(f, teams=["red"]),
    "scopes removed": lambda f: _with_claims(f, scopes={}),
}


def _with_claims(forger: Forger, **changes: object) -> str:
    head, _, signature = forger.token().split(".")
    return f"{head}.{encoded(dict(forger.claims) | changes)}.{signature}"


MALFORMED: dict[str, Forge] = {
    "kid a list": with_kid(["a"]),
    "kid a number": with_kid(0),
    "garbage": lambda _: "garbage",
    "dots": lambda _: "...",
    "not base64": lambda _: "!!!.???.***",
    "header no object": lambda f: f"{encoded(b'[]')}.{encoded(dict(f.claims))}.AA",
    "header of brackets": lambda f: f"{encoded(b'[' * 5000)}.{encoded(dict(f.claims))}.AA",
    "header with bad UTF-8": lambda f: f"{encoded(bytes([0xFF, 0xFE]))}.{encoded(dict(f.claims))}.AA",
    "five parts, as if encrypted": lambda _: "a.b.c.d.e",
    "two parts": lambda f: f.token().rpartition(".")[0],
    "two tokens": lambda f: f"{f.token()} {f.token()}",
    "two tokens with a comma": lambda f: f"{f.token()},{f.token()}",
    "oversized": lambda f: f.token({"pad": "x" * 9000}),
    "no jti": saying(jti=...),
    "no exp": saying(exp=...),
    "no sub": saying(sub=...),
    "no iat": saying(iat=...),
    "no iss": saying(iss=...),
    "no aud": saying(aud=...),
    "sub a number": saying(sub=1),
    "sub a list": saying(sub=["admin@example.com"]),
    "jti a number": saying(jti=1),
    "exp a text": saying(exp="tomorrow"),
    "exp null": saying(exp=None),
    "exp a list": saying(exp=[2**40]),
    "exp without end": saying(exp=float("inf")),
    "iat a text": saying(iat="now"),
    "iat without end": saying(iat=float("inf")),
    "nbf a text": saying(nbf="now"),
    "nbf without end": saying(nbf=float("inf")),
    "teams a text": saying(teams="red"),
    "teams numbers": saying(teams=[1]),
    "scopes a list": saying(scopes=["*"]),
    "scopes that nobody knows": saying(scopes={"moon_phase": "full"}),
    "permissions a text": saying(scopes={"permissions": "*"}),
    "cnf a text": saying(cnf="x5t"),
}

RULES: dict[str, tuple[Forge, str]] = {
    "expired": (lambda f: f.token({"exp": later(-60)}), "token_expired"),
    "expired at the epoch": (saying(exp=0), "token_expired"),
    "expired before it": (saying(exp=-(10**30)), "token_expired"),
    "not valid yet": (lambda f: f.token({"nbf": later(60)}), "token_not_yet_valid"),
    "issued in the future": (lambda f: f.token({"iat": later(60)}), "token_not_yet_valid"),
    "issued in a very far future": (saying(iat=10**400), "token_not_yet_valid"),
    "another audience": (saying(aud="somebody-else"), "token_audience"),
    "other audiences": (saying(aud=["somebody-else", "mcpgateway-api-2"]), "token_audience"),
    "audience in capitals": (saying(aud="MCPGATEWAY-API"), "token_audience"),
    "another issuer": (saying(iss="https://attacker.example"), "token_issuer"),
    "issuer with a slash": (saying(iss="mcpgateway/"), "token_issuer"),
    "another environment": (saying(env="production"), "token_environment"),
    "no access token": (lambda f: f.token(headers={"typ": "dpop+jwt"}), "token_malformed"),
    "an ID token": (lambda f: f.token(headers={"typ": "logout+jwt"}), "token_malformed"),
    "of nobody": (saying(sub="nobody@attacks.example"), "token_rejected"),
    "of a name with another case": (saying(sub="ADMIN@example.com"), "token_rejected"),
}

ALL = (
    {name: (forge, "token_signature") for name, forge in SIGNATURES.items()}
    | {name: (forge, "token_malformed") for name, forge in MALFORMED.items()}
    | RULES
)


def test_what_the_forger_signs_counts_where_nothing_is_wrong_with_it(ground: Ground) -> None:
    marker = marked()
    assert ground.call(bearer(ground.forger.token()), marker).status_code == 200
    assert ground.left(marker)


@pytest.mark.attack("a call, and a request to REST, with a token", 401)
@pytest.mark.parametrize(("forge", "code"), ALL.values(), ids=ALL)
def test_a_token_that_does_not_count_opens_nothing(ground: Ground, expected: Expected, forge: Forge, code: str) -> None:
    token, marker = forge(ground.forger), marked()
    assert expected.code == code
    ground.refused(ground.call(bearer(token), marker), expected)
    assert not ground.left(marker)
    with ground.as_(None) as client:
        answer = client.get("/tools", headers=bearer(token))
    expected.check(answer)
    assert answer.headers["www-authenticate"].startswith("Bearer ")
