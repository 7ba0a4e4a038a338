"""The word of other authorization servers counts as far as an administrator said; what a client signs counts once."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock_common.clock import SYSTEM_CLOCK
from stories.attack_table import Expected
from stories.attackers import OWN_SERVER, SECRET_SERVER, Ground, bearer, marked
from stories.authorizing import CALLBACK
from stories.deployment import wait_for
from stories.issuing import AUDIENCE, SUBJECT, Issuer, Signer, serving

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True)
class Others:
    """``corp``, whose subjects are linked to people here; ``partner``, whose are what their claims come to."""

    corp: Issuer
    partner: Issuer
    ours: Signer


@pytest.fixture(scope="module")
def others(prepared: Ground) -> Generator[Others]:
    with ExitStack() as stack, prepared.as_(prepared.stage.token) as admin:
        corp, partner = (stack.enter_context(serving(Issuer())) for _ in range(2))
        claims = {"roles_claim": "roles", "roles": {"reader": "viewer"}, "teams_claim": "groups"}
        for name, issuer, more in (
            ("corp", corp, {"accounts": "linked"}),
            ("partner", partner, {"accounts": "mapped", "claims": claims}),
        ):
            body = {"issuer": issuer.url, "audiences": [AUDIENCE], "jwks_uri": f"{issuer.url}/jwks"} | more
            told = admin.put(f"/issuers/{name}", json=body)
            assert told.is_success, told.text
            assert told.json()["keys"] == [issuer.kid], told.text
        for subject, person in ((SUBJECT, prepared.alice.name), ("admin-there", "admin@example.com")):
            linked = admin.post("/issuers/corp/identities", json={"subject": subject, "principal": person})
            assert linked.is_success, linked.text
        found = Others(corp, partner, Signer(prepared.forger.kid, prepared.forger.key))
        wait_for(lambda: settled(prepared, corp.token()).status_code == 200, "a token of another issuer", 10)
        yield found
        for name in ("corp", "partner"):
            admin.delete(f"/issuers/{name}").raise_for_status()


def settled(ground: Ground, token: str, marker: str = "") -> httpx.Response:
    """The answer to a call, once the edge is done with asking for keys."""
    answers: list[httpx.Response] = []

    def done() -> bool:
        answers.append(ground.call(bearer(token), marker or marked()))
        return answers[-1].status_code != 503

    wait_for(done, "an answer", 10)
    return answers[-1]


def encoded(part: Mapping[str, str] | bytes) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(issuer: Issuer, secret: bytes) -> str:
    head = encoded({"alg": "HS256", "typ": "at+jwt", "kid": issuer.kid})
    signed = f"{head}.{issuer.token().split('.')[1]}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def unsigned(token: str, kid: str) -> str:
    return f"{encoded({'alg': 'none', 'typ': 'at+jwt', 'kid': kid})}.{token.split('.')[1]}."


def public(issuer: Issuer, encoding: Encoding, form: PublicFormat) -> bytes:
    return issuer.key.public_key().public_bytes(encoding, form)


def later(seconds: int) -> int:
    return int(SYSTEM_CLOCK.time()) + seconds


_STRANGER = Issuer(url="https://attacker.example")

TOKENS: dict[str, tuple[Callable[[Others], str], str]] = {
    "signed by another issuer with the same kid": (lambda o: o.corp.token(by=o.partner), "token_signature"),
    "signed by it for another issuer": (lambda o: o.partner.token(by=o.corp), "token_signature"),
    "signed by a key that it offers itself": (
        lambda o: o.corp.token(by=_STRANGER, headers={"jwk": _STRANGER.jwk}), "token_signature",
    ),
    "signed by a key at an address in it": (
        lambda o: o.corp.token(by=_STRANGER, headers={"jku": "https://attacker.example/jwks"}), "token_signature",
    ),
    "of an unknown issuer": (lambda _: _STRANGER.token(), "token_issuer"),
    "of an unknown issuer with its key": (lambda o: _STRANGER.token(by=o.corp), "token_issuer"),
    "with a slash after its issuer": (lambda o: o.corp.token(iss=f"{o.corp.url}/"), "token_issuer"),
    "with its issuer in capitals": (lambda o: o.corp.token(iss=o.corp.url.upper()), "token_issuer"),
    "as if it were ours": (lambda o: o.corp.token(iss="mcpgateway", aud="mcpgateway-api"), "token_signature"),
    "as if it were ours, with our kid": (
        lambda o: o.corp.token(iss="mcpgateway", aud="mcpgateway-api", headers={"kid": o.ours.kid}), "token_signature",
    ),
    "signed by us as if it were its own": (lambda o: o.corp.token(by=o.ours), "token_signature"),
    "alg none": (lambda o: unsigned(o.corp.token(), o.corp.kid), "token_signature"),
    "HS256 with its public PEM": (
        lambda o: hs256(o.corp, public(o.corp, Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)), "token_signature",
    ),
    "HS256 with its raw public key": (
        lambda o: hs256(o.corp, public(o.corp, Encoding.Raw, PublicFormat.Raw)), "token_signature",
    ),
    "HS256 with its JWK": (lambda o: hs256(o.corp, json.dumps(o.corp.jwk).encode()), "token_signature"),
    "no kid": (lambda o: o.corp.token(headers={"kid": ...}), "token_signature"),
    "an unknown kid": (lambda o: o.corp.token(headers={"kid": "another"}), "token_signature"),
    "a kid that is a path": (lambda o: o.corp.token(headers={"kid": "../partner/signing-1"}), "token_signature"),
    "expired": (lambda o: o.corp.token(exp=later(-60)), "token_expired"),
    "not valid yet": (lambda o: o.corp.token(nbf=later(60)), "token_not_yet_valid"),
    "for too long": (lambda o: o.corp.token(exp=later(86400 * 400)), "token_rejected"),
    "without an end": (lambda o: o.corp.token(exp=...), "token_malformed"),
    "for another audience": (lambda o: o.corp.token(aud="https://somebody.example"), "token_audience"),
    "for the audience of our own": (lambda o: o.corp.token(aud="mcpgateway-api"), "token_audience"),
    "for nobody": (lambda o: o.corp.token(aud=...), "token_malformed"),
    "an ID token": (lambda o: o.corp.token(headers={"typ": "JWT"}, at_hash="x"), "token_malformed"),
    "of another type": (lambda o: o.corp.token(headers={"typ": "logout+jwt"}), "token_malformed"),
    "of somebody who is not linked": (lambda o: o.corp.token(sub="stranger"), "token_rejected"),
    "of somebody by the name of an account": (lambda o: o.corp.token(sub="alice@attacks.example"), "token_rejected"),
    "with the subject of another issuer": (lambda o: o.corp.token(sub=f"{SUBJECT} "), "token_rejected"),
    "without a subject": (lambda o: o.corp.token(sub=...), "token_malformed"),
    "bound to a key": (lambda o: o.corp.token(cnf={"jkt": "AA"}), "token_rejected"),
    "bound to a certificate that is not shown": (lambda o: o.corp.token(cnf={"x5t#S256": "A" * 43}), "token_bound"),
}  # fmt: skip


@pytest.mark.attack("a token of another authorization server", 401)
@pytest.mark.parametrize(("forge", "code"), TOKENS.values(), ids=TOKENS)
def test_a_token_of_others_counts_as_its_issuer_signed_it(
    ground: Ground, expected: Expected, others: Others, forge: Callable[[Others], str], code: str
) -> None:
    marker = marked()
    assert expected.code == code
    ground.refused(settled(ground, forge(others), marker), expected)
    assert not ground.left(marker)


CLAIMED: dict[str, tuple[Callable[[Others], str], str]] = {
    "of an administrator here": (lambda o: o.corp.token(sub="admin-there"), "not_permitted"),
    "with claims of ours": (lambda o: o.corp.token(is_admin=True, scopes={"permissions": ["*"]}), "not_permitted"),
    "mapped, by the name of the administrator": (lambda o: o.partner.token(sub="admin@example.com"), "not_contained"),
    "mapped, with an invented role": (
        lambda o: o.partner.token(roles=["platform_admin", "admin"]), "not_contained",
    ),
    "mapped, with a role and claims of ours": (
        lambda o: o.partner.token(roles=["reader"], is_admin=True), "not_contained",
    ),
}  # fmt: skip


@pytest.mark.attack("a token of another authorization server, at the administration", 403)
@pytest.mark.parametrize(("forge", "code"), CLAIMED.values(), ids=CLAIMED)
def test_others_make_nobody_an_administrator(
    ground: Ground, expected: Expected, others: Others, forge: Callable[[Others], str], code: str
) -> None:
    assert expected.code == code
    with ground.as_(forge(others)) as client:
        expected.check(client.get("/users"))


@pytest.mark.attack("a mapped token that names a foreign team, at its server", 404, "not_found")
@pytest.mark.parametrize("claim", ["groups", "teams"])
def test_others_bring_nobody_into_a_team(ground: Ground, expected: Expected, others: Others, claim: str) -> None:
    marker = marked()
    claims: dict[str, Any] = {"roles": ["reader"], claim: [ground.team, "Red"]}
    token = others.partner.token(**claims)
    ground.refused(ground.call(bearer(token), marker, f"/servers/{SECRET_SERVER}/mcp", "secret-add_note"), expected)
    assert not ground.left(marker)


@pytest.mark.attack("an authorization server to be named by somebody who may not", 403, "not_permitted")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET", "POST"])
def test_nobody_names_issuers_but_administrators(
    ground: Ground, expected: Expected, others: Others, method: str
) -> None:
    body = {"issuer": others.corp.url, "audiences": [AUDIENCE], "administrators": True}
    place = {"POST": "/issuers/corp/identities"}.get(method, "/issuers/corp")
    said = {"POST": {"subject": "x", "principal": ground.bob.name}, "PUT": body}.get(method)
    with ground.as_(ground.bob.token) as client:
        expected.check(client.request(method, place, json=said))


@dataclass(frozen=True)
class SigningClient:
    """A client that exchanges tokens, and signs who it is."""

    ground: Ground
    id: str
    signer: Signer

    def assertion(self, *, by: Signer | None = None, headers: Mapping[str, object] | None = None, **claims: Any) -> str:
        said = {"iss": self.id, "sub": self.id, "aud": f"{self.ground.url}/oauth/token"} | claims
        return (by or self.signer).sign(said, **({"typ": "JWT"} | dict(headers or {})))

    def exchange(self, subject: str, *, assertion: str = "", **form: str) -> httpx.Response:
        said = {
            "grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": ACCESS,
            "client_assertion_type": ASSERTION, "client_assertion": assertion or self.assertion(),
        }  # fmt: skip
        with self.ground.as_(None) as client:
            return client.post("/oauth/token", data=said | form)


@pytest.fixture(scope="module")
def signing(prepared: Ground) -> SigningClient:
    signer = Signer("client-1")
    body = {
        "client_name": "Exchanger", "redirect_uris": [], "grant_types": [EXCHANGE], "response_types": [],
        "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [signer.jwk]},
    }  # fmt: skip
    with prepared.as_(prepared.stage.token) as admin:
        made = admin.post("/oauth/clients", json=body)
    assert made.is_success, made.text
    return SigningClient(prepared, made.json()["client_id"], signer)


@pytest.fixture(scope="module")
def narrow(prepared: Ground) -> str:
    """A token of alice that opens little."""
    scopes = {"permissions": ["tools.read", "tools.execute"], "ip_restrictions": ["127.0.0.0/8"]}
    with prepared.as_(prepared.alice.token) as hers:
        return hers.post("/tokens", json={"name": "narrow", "scopes": scopes}).raise_for_status().json()["token"]


def test_a_client_that_signs_exchanges_a_token(signing: SigningClient, narrow: str) -> None:
    given = signing.exchange(narrow, scope="tools.read")
    assert given.is_success, given.text
    assert given.json()["scope"] == "tools.read"


_THIEF = Signer("client-1")

ASSERTIONS: dict[str, Callable[[SigningClient], str]] = {
    "of another key": lambda c: c.assertion(by=_THIEF),
    "of another key that it offers": lambda c: c.assertion(by=_THIEF, headers={"jwk": _THIEF.jwk}),
    "alg none": lambda c: unsigned(c.assertion(), c.signer.kid),
    "for another authorization server": lambda c: c.assertion(aud="https://attacker.example/oauth/token"),
    "for nobody": lambda c: c.assertion(aud=...),
    "issued by somebody else": lambda c: c.assertion(iss="somebody"),
    "about somebody else": lambda c: c.assertion(sub="somebody"),
    "expired": lambda c: c.assertion(exp=later(-60)),
    "without an end": lambda c: c.assertion(exp=...),
    "for a year": lambda c: c.assertion(exp=later(86400 * 365)),
    "not valid yet": lambda c: c.assertion(nbf=later(120)),
    "without an id": lambda c: c.assertion(jti=...),
    "with an id that is no text": lambda c: c.assertion(jti=["x"]),
    "garbage": lambda _: "garbage",
    "very long": lambda c: c.assertion(pad="x" * 8000),
}  # fmt: skip


@pytest.mark.attack("an assertion of a client (private_key_jwt)", 401, "invalid_client")
@pytest.mark.parametrize("forge", ASSERTIONS.values(), ids=ASSERTIONS)
def test_an_assertion_counts_as_its_client_signed_it(
    expected: Expected, signing: SigningClient, narrow: str, forge: Callable[[SigningClient], str]
) -> None:
    expected.check(signing.exchange(narrow, scope="tools.read", assertion=forge(signing)))


@pytest.mark.attack("an assertion of a client (private_key_jwt) again", 401, "invalid_client")
@pytest.mark.parametrize("place", ["at the same endpoint", "at another endpoint"])
def test_an_assertion_counts_once(
    ground: Ground, expected: Expected, signing: SigningClient, narrow: str, place: str
) -> None:
    used = signing.assertion()
    assert signing.exchange(narrow, scope="tools.read", assertion=used).is_success
    if place == "at the same endpoint":
        expected.check(signing.exchange(narrow, scope="tools.read", assertion=used))
        return
    with ground.as_(None) as client:
        form = {"token": narrow, "client_assertion": used, "client_assertion_type": ASSERTION}
        expected.check(client.post("/oauth/revoke", data=form))


@pytest.mark.attack("an assertion together with another credential", 400, "invalid_request")
@pytest.mark.parametrize("also", ["a secret", "a header", "another kind of assertion"])
def test_a_client_shows_one_thing(
    ground: Ground, expected: Expected, signing: SigningClient, narrow: str, also: str
) -> None:
    form = {"a secret": {"client_secret": "x"}, "another kind of assertion": {"client_assertion_type": "saml"}}
    said = {
        "grant_type": EXCHANGE, "subject_token": narrow, "subject_token_type": ACCESS,
        "client_assertion_type": ASSERTION, "client_assertion": signing.assertion(),
    } | form.get(also, {})  # fmt: skip
    sent: dict[str, Any] = {"auth": (signing.id, "x")} if also == "a header" else {}
    with ground.as_(None) as client:
        expected.check(client.post("/oauth/token", data=said, **sent))


EXCHANGED: dict[str, tuple[dict[str, str], str]] = {
    "for more permissions": ({"scope": "tools.read tokens.create"}, "invalid_scope"),
    "for all permissions": ({"scope": "*"}, "invalid_scope"),
    "for those of administrators": ({"scope": "admin.system_config"}, "invalid_scope"),
    "for a resource of others": ({"resource": "https://attacker.example/mcp"}, "invalid_target"),
    "for another actor": ({"actor_token": "{narrow}", "actor_token_type": ACCESS}, "invalid_request"),
    "for an ID token": ({"requested_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"),
    "for a refresh token": (
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request",
    ),
    "of another type": ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
    "of a token that was made up": ({"subject_token": "{forged}"}, "invalid_request"),
    "of a token of another issuer": ({"subject_token": "{external}"}, "invalid_request"),
    "of a revoked token": ({"subject_token": "{revoked}"}, "invalid_request"),
    "of a refresh token": ({"subject_token": "A" * 43}, "invalid_request"),
    "of nothing": ({"subject_token": ""}, "invalid_request"),
}  # fmt: skip


@pytest.mark.attack("an exchange of a token", 400)
@pytest.mark.parametrize(("form", "code"), EXCHANGED.values(), ids=EXCHANGED)
def test_an_exchange_gives_no_more_than_there_was(
    ground: Ground, expected: Expected, others: Others, signing: SigningClient, narrow: str, form: dict[str, str],
    code: str,
) -> None:  # fmt: skip
    assert expected.code == code
    with ground.as_(ground.alice.token) as hers:
        revoked = hers.post("/tokens", json={"name": "revoked"}).raise_for_status().json()
        hers.delete(f"/tokens/{revoked['id']}").raise_for_status()
    known = {
        "narrow": narrow, "forged": ground.forger.token(), "external": others.corp.token(), "revoked": revoked["token"],
    }  # fmt: skip
    said = {name: value.format(**known) for name, value in form.items()}
    expected.check(signing.exchange(said.pop("subject_token", narrow), **({"scope": "tools.read"} | said)))


@pytest.mark.attack("an exchange by a client that may not", 400, "unauthorized_client")
def test_a_client_without_the_grant_exchanges_nothing(ground: Ground, expected: Expected, narrow: str) -> None:
    metadata = {"redirect_uris": [CALLBACK], "client_name": "x", "token_endpoint_auth_method": "none"}
    with ground.as_(None) as client:
        made = client.post("/oauth/register", json=metadata).raise_for_status().json()
        form = {"client_id": made["client_id"], "grant_type": EXCHANGE, "subject_token": narrow}
        expected.check(client.post("/oauth/token", data=form | {"subject_token_type": ACCESS}))


@pytest.mark.attack("an exchanged token, where the first one does not reach", 403)
@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("POST", "/tokens", "not_contained"), ("GET", "/users", "not_permitted")],
    ids=["to mint", "to administer"],
)
def test_an_exchanged_token_is_as_narrow_as_the_first(
    ground: Ground, expected: Expected, signing: SigningClient, narrow: str, method: str, path: str, code: str
) -> None:
    given = signing.exchange(narrow, scope="tools.read").raise_for_status().json()["access_token"]
    assert expected.code == code
    with ground.as_(given) as client:
        expected.check(client.request(method, path, json={"name": "more"} if method == "POST" else None))


@pytest.mark.attack("an exchanged token, after the first one was revoked", 401, "token_revoked")
def test_an_exchanged_token_ends_with_the_first(ground: Ground, expected: Expected, signing: SigningClient) -> None:
    with ground.as_(ground.alice.token) as hers:
        first = hers.post("/tokens", json={"name": "first"}).raise_for_status().json()
        given = signing.exchange(first["token"], scope="tools.read").raise_for_status().json()["access_token"]
        again = signing.exchange(given, scope="tools.read").raise_for_status().json()["access_token"]
        hers.delete(f"/tokens/{first['id']}").raise_for_status()
    for token in (given, again):
        ground.refused(ground.call(bearer(token), marked(), f"/servers/{OWN_SERVER}/mcp"), expected)
