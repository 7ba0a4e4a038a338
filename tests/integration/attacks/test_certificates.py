"""Certificates count for who they name, as long as they stand; nobody but a trusted proxy speaks of those of others."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from interlock_common.clock import SYSTEM_CLOCK
from interlock_gateway.testing.certificates import name_of
from stories.attack_table import Expected, code_of
from stories.attackers import Ground, bearer, marked
from stories.certified import PROXY, Front, Held, standing_front

ADMIN = "admin@example.com"
type Sent = dict[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class Shown:
    """What is at hand to be shown."""

    front: Front
    alice: Held
    bob: Held
    admin: Held
    proxy: Held
    revoked: Held
    expired: Held
    foreign: Held


@pytest.fixture(scope="module")
def shown(prepared: Ground, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    front, revoked = standing_front(prepared, tmp_path_factory.mktemp("certified"))
    people = (prepared.alice.name, prepared.bob.name, ADMIN, PROXY)
    alice, bob, admin, proxy = (front.held(name) for name in people)
    foreign = front.held(ADMIN, of=front.foreign)
    return Shown(front, alice, bob, admin, proxy, revoked, front.expired(ADMIN), foreign)


def test_a_certificate_opens_what_its_principal_may(ground: Ground, shown: Shown) -> None:
    marker = marked()
    assert shown.front.call(shown.alice, {}, marker).status_code == 200
    assert ground.left(marker)
    passed_on = {"X-SSL-Client-Cert": shown.alice.escaped, "X-SSL-Client-Verify": "SUCCESS"}
    assert shown.front.call(shown.proxy, passed_on, marked()).status_code == 200


def self_signed(front: Front, common_name: str, issuer: str) -> Held:
    """A certificate that says it is of ``issuer``, and is signed by its own key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = SYSTEM_CLOCK.now()
    builder = x509.CertificateBuilder().subject_name(name_of(common_name)).issuer_name(name_of(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    return front.kept(builder.sign(key, hashes.SHA256()), key)


def by_a_leaf(front: Front) -> Held:
    """A certificate that somebody signed with the key of their own, which is no CA."""
    leaf_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    leaf = front.ca.issue("mallory@attacks.example", key=leaf_key)
    now = SYSTEM_CLOCK.now()
    builder = x509.CertificateBuilder().subject_name(name_of(ADMIN)).issuer_name(leaf.subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    return front.kept(builder.sign(leaf_key, hashes.SHA256()), key).chained(leaf)


HANDSHAKES: dict[str, Callable[[Shown], Held]] = {
    "expired": lambda shown: shown.expired,
    "not valid yet": lambda shown: shown.front.held(ADMIN, begins=SYSTEM_CLOCK.now() + timedelta(days=1)),
    "of a foreign CA with the same name": lambda shown: shown.foreign,
    "of a foreign CA, shown with it": lambda shown: shown.foreign.chained(shown.front.foreign.certificate),
    "self-signed": lambda shown: self_signed(shown.front, ADMIN, ADMIN),
    "self-signed with the name of the CA": lambda shown: self_signed(shown.front, ADMIN, "Attacked Client CA"),
    "signed by somebody's certificate": lambda shown: by_a_leaf(shown.front),
    "for servers only": lambda shown: shown.front.held(ADMIN, usage=ExtendedKeyUsageOID.SERVER_AUTH),
    "the proxy's name, self-signed": lambda shown: self_signed(shown.front, PROXY, PROXY),
}


@pytest.mark.attack("a client certificate; the handshake fails, whatever token comes with it", 0)
@pytest.mark.parametrize("make", HANDSHAKES.values(), ids=HANDSHAKES)
def test_a_certificate_that_does_not_verify_is_no_connection(
    ground: Ground, expected: Expected, shown: Shown, make: Callable[[Shown], Held]
) -> None:
    held, marker = make(shown), marked()
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        shown.front.call(held, bearer(ground.stage.token), marker)
    expected.check_status(0)
    assert not ground.left(marker)


NAMES: dict[str, tuple[Callable[[Shown], Held], str]] = {
    "revoked by its CA": (lambda shown: shown.revoked, "certificate_revoked"),
    "of nobody": (lambda shown: shown.front.held("nobody@attacks.example"), "certificate_identity_unknown"),
    "without a name": (lambda shown: shown.front.held(None, organization="x"), "certificate_identity_unknown"),
    "with two e-mails": (
        lambda shown: shown.front.held("x", emails=("x@attacks.example", ADMIN)), "certificate_identity_unknown",
    ),
    "with an administrator after a NUL": (
        lambda shown: shown.front.held(f"{ADMIN}\x00.attacks.example"), "certificate_identity_unknown",
    ),
    "with an administrator after a line break": (
        lambda shown: shown.front.held(f"x\n{ADMIN}"), "certificate_identity_unknown",
    ),
    "with a very long name": (lambda shown: shown.front.held("a" * 64), "certificate_identity_unknown"),
}  # fmt: skip


@pytest.mark.attack("a client certificate of the right CA", 401)
@pytest.mark.parametrize(("make", "code"), NAMES.values(), ids=NAMES)
def test_a_certificate_that_names_nobody_or_was_revoked_opens_nothing(
    ground: Ground, expected: Expected, shown: Shown, make: Callable[[Shown], Held], code: str
) -> None:
    held, marker = make(shown), marked()
    assert expected.code == code
    ground.refused(shown.front.call(held, {}, marker), expected)
    assert not ground.left(marker)


@pytest.mark.attack("a client certificate that an administrator has revoked", 401, "certificate_revoked")
def test_a_certificate_is_revoked_at_once(ground: Ground, expected: Expected, shown: Shown) -> None:
    held, marker = shown.front.held(ground.alice.name), marked()
    assert shown.front.call(held, {}, marked()).status_code == 200
    with ground.as_(ground.stage.token) as admin:
        body = {"kind": "certificate", "id": held.thumbprint, "reason": "stolen"}
        admin.post("/revocations", json=body).raise_for_status()
    ground.refused(shown.front.call(held, {}, marker), expected)
    assert not ground.left(marker)


@pytest.mark.attack("a token and a client certificate of different people", 401, "credentials_disagree")
@pytest.mark.parametrize("token", ["bob's", "the administrator's"])
def test_a_token_and_a_certificate_name_the_same(ground: Ground, expected: Expected, shown: Shown, token: str) -> None:
    marker = marked()
    said = ground.bob.token if token == "bob's" else ground.stage.token
    ground.refused(shown.front.call(shown.alice, bearer(said), marker), expected)
    assert not ground.left(marker)


@pytest.mark.attack("a page of others, with the certificate of the browser (CSRF)", 403, "cross_site")
@pytest.mark.parametrize(
    ("name", "value"),
    [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://attacker.example"), ("Origin", "null")],
)
def test_a_page_of_others_does_not_use_the_certificate_of_a_browser(
    ground: Ground, expected: Expected, shown: Shown, name: str, value: str
) -> None:
    with shown.front.as_(shown.admin) as client:
        expected.check(client.post("/teams", json={"name": "by another site"}, headers={name: value}))
    with ground.as_(ground.stage.token) as admin:
        assert "by another site" not in admin.get("/teams").text


@pytest.mark.attack("a call of such a page, from a form that names no origin (CSRF)", 403, "permission_denied")
def test_a_form_of_others_calls_nothing_with_the_certificate_of_a_browser(
    ground: Ground, expected: Expected, shown: Shown
) -> None:
    marker = marked()
    ground.refused(shown.front.call(shown.admin, {"Sec-Fetch-Site": "cross-site"}, marker), expected)
    assert not ground.left(marker)


def forged(shown: Shown) -> dict[str, Sent]:
    """What a proxy would say of an administrator's certificate."""
    cert = shown.admin.escaped
    return {
        "nginx": {"X-SSL-Client-Cert": cert, "X-SSL-Client-Verify": "SUCCESS"},
        "HAProxy": {"X-SSL-Client-Cert": cert, "X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN-CN": ADMIN},
        "names": {"X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-S-DN": f"CN={ADMIN}"},
        "Envoy": {"X-Forwarded-Client-Cert": f'Cert="{cert}";Subject="CN={ADMIN}"'},
        "a user": {"X-Authenticated-User": ADMIN},
        "RFC 9440": {"Client-Cert": ":AA==:", "Client-Cert-Chain": ":AA==:"},
        "underscores": {"X_SSL_Client_Cert": cert, "X_SSL_Client_Verify": "SUCCESS", "X_Authenticated_User": ADMIN},
        "capitals": {"X-SSL-CLIENT-CERT": cert, "X-SSL-CLIENT-VERIFY": "SUCCESS", "X-AUTHENTICATED-USER": ADMIN},
        "with the address of a proxy": {"X-Authenticated-User": ADMIN, "X-Forwarded-For": "127.0.0.1"},
    }  # fmt: skip


FORGED = [
    "nginx", "HAProxy", "names", "Envoy", "a user", "RFC 9440", "underscores", "capitals",
    "with the address of a proxy",
]  # fmt: skip


@pytest.mark.attack("forged headers of a proxy, without a certificate, over TLS and without", 401, "token_missing")
@pytest.mark.parametrize("kind", FORGED)
def test_nobody_is_who_their_headers_say(ground: Ground, expected: Expected, shown: Shown, kind: str) -> None:
    marker, headers = marked(), forged(shown)[kind]
    ground.refused(shown.front.call(None, headers, marker), expected)
    ground.refused(ground.call(headers, marker), expected)
    assert not ground.left(marker)


@pytest.mark.attack(
    "forged headers of a proxy about an administrator, with one's own certificate", 403, "not_permitted"
)
@pytest.mark.parametrize("kind", FORGED)
def test_nobody_becomes_somebody_else_by_headers(ground: Ground, expected: Expected, shown: Shown, kind: str) -> None:
    with shown.front.as_(shown.alice, dict(forged(shown)[kind])) as client:
        expected.check(client.get("/users"))
        assert client.get("/users/me").raise_for_status().json()["name"] == ground.alice.name


def bound_token(ground: Ground, held: Held) -> str:
    """A token of alice that is bound to a certificate."""
    with ground.as_(ground.alice.token) as hers:
        body = {"name": "bound", "certificate": held.thumbprint}
        answer = hers.post("/tokens", json=body)
        return answer.raise_for_status().json()["token"]


BOUND: dict[str, tuple[Callable[[Shown], Held | None], Callable[[Shown], dict[str, str]], str]] = {
    "without a certificate": (lambda _: None, lambda _: {}, "token_bound"),
    "with another certificate of the same person": (
        lambda s: s.front.held("alice@attacks.example"), lambda _: {}, "token_bound",
    ),
    "with the certificate of somebody else": (lambda s: s.bob, lambda _: {}, "token_bound"),
    "with the certificate in forged headers": (
        lambda _: None,
        lambda s: {"X-SSL-Client-Cert": s.alice.escaped, "X-SSL-Client-Verify": "SUCCESS"}, "token_bound",
    ),
    "with the certificate in forged headers of Envoy": (
        lambda _: None, lambda s: {"X-Forwarded-Client-Cert": f'Cert="{s.alice.escaped}"'}, "token_bound",
    ),
    "by a proxy that passes on another": (
        lambda s: s.proxy, lambda s: {"X-SSL-Client-Cert": s.bob.escaped, "X-SSL-Client-Verify": "SUCCESS"},
        "token_bound",
    ),
    "by a proxy that passes on none": (lambda s: s.proxy, lambda _: {}, "token_bound"),
    "by a proxy that did not verify it": (
        lambda s: s.proxy, lambda s: {"X-SSL-Client-Cert": s.alice.escaped, "X-SSL-Client-Verify": "FAILED:x"},
        "proxy_verify_failed",
    ),
}  # fmt: skip


@pytest.mark.attack("a bound token", 401)
@pytest.mark.parametrize(("who", "says", "code"), BOUND.values(), ids=BOUND)
def test_a_bound_token_counts_with_its_certificate_only(
    ground: Ground, expected: Expected, shown: Shown, who: Callable[[Shown], Held | None],
    says: Callable[[Shown], dict[str, str]], code: str,
) -> None:  # fmt: skip
    token, marker = bound_token(ground, shown.alice), marked()
    assert expected.code == code
    ground.refused(shown.front.call(who(shown), says(shown) | bearer(token), marker), expected)
    assert not ground.left(marker)
    assert shown.front.call(shown.alice, bearer(token), marker).status_code == 200


@pytest.mark.attack("a bound token at an edge without TLS", 401, "token_bound")
def test_a_bound_token_does_not_count_where_no_certificate_can_be_shown(
    ground: Ground, expected: Expected, shown: Shown
) -> None:
    token = bound_token(ground, shown.alice)
    ground.refused(ground.call(bearer(token), marked()), expected)


@pytest.mark.attack("a bound token, with its certificate revoked", 401, "certificate_revoked")
def test_a_bound_token_ends_with_its_certificate(ground: Ground, expected: Expected, shown: Shown) -> None:
    token = bound_token(ground, shown.revoked)
    ground.refused(shown.front.call(shown.revoked, bearer(token), marked()), expected)


@pytest.mark.attack("somebody else's certificate as the successor of one's own", 403, "permission_denied")
@pytest.mark.parametrize("whose", ["an administrator's", "another person's", "of a foreign CA"])
def test_a_certificate_is_followed_by_one_of_the_same_names(expected: Expected, shown: Shown, whose: str) -> None:
    theirs = {"an administrator's": shown.admin, "another person's": shown.bob}.get(whose, shown.foreign)
    with shown.front.as_(shown.alice) as client:
        pem = theirs.certificate.public_bytes(Encoding.PEM).decode()
        expected.check(client.post("/auth/certificate/successor", json={"certificate": pem}))


@pytest.mark.attack("a successor of a certificate by a token, which shows none", 404, "not_found")
def test_only_who_shows_a_certificate_names_its_successor(ground: Ground, expected: Expected, shown: Shown) -> None:
    pem = shown.alice.certificate.public_bytes(Encoding.PEM).decode()
    with ground.as_(ground.alice.token) as client:
        expected.check(client.post("/auth/certificate/successor", json={"certificate": pem}))


@pytest.mark.attack("a bound token with a named successor that another CA made up: no connection", 0)
def test_a_successor_has_to_verify_as_well(ground: Ground, expected: Expected, shown: Shown) -> None:
    made_up = shown.front.held(ground.alice.name, of=shown.front.foreign)
    mine = shown.front.held(ground.alice.name)
    token = bound_token(ground, mine)
    with shown.front.as_(mine) as client:
        pem = made_up.certificate.public_bytes(Encoding.PEM).decode()
        client.post("/auth/certificate/successor", json={"certificate": pem})
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        shown.front.call(made_up, bearer(token), marked())
    expected.check_status(0)


PROOFS = {
    "another hash": {"x5t": "AA"}, "a key": {"jwk": {"kty": "OKP"}}, "a key by name": {"jkt": "AA"},
    "a number": {"x5t#S256": 1}, "two proofs": {"x5t#S256": "AA", "jkt": "AA"},
}  # fmt: skip


@pytest.mark.attack("a token bound to what nobody here can check", 401, "token_malformed")
@pytest.mark.parametrize("confirmation", PROOFS.values(), ids=PROOFS)
def test_a_binding_that_is_not_understood_is_not_passed_over(
    ground: Ground, expected: Expected, shown: Shown, confirmation: object
) -> None:
    token = ground.forger.token({"cnf": confirmation, "sub": ground.alice.name})
    ground.refused(shown.front.call(shown.alice, bearer(token), marked()), expected)


@pytest.mark.attack("a bound token that would mint one without the binding, or with another", 403, "not_contained")
def test_a_binding_is_not_shed_by_minting(ground: Ground, expected: Expected, shown: Shown) -> None:
    token = bound_token(ground, shown.alice)
    with shown.front.as_(shown.alice, bearer(token)) as client:
        expected.check(client.post("/tokens", json={"name": "x", "certificate": shown.bob.thumbprint}))
        unbound = client.post("/tokens", json={"name": "y"}).raise_for_status().json()["token"]
    assert code_of(ground.call(bearer(unbound), marked())) == "token_bound"


def said_by_proxies(shown: Shown) -> dict[str, Sent]:
    """What is wrong with what the proxy passes on."""
    verified = {"X-SSL-Client-Verify": "SUCCESS"}
    ours, cert, envoys = shown.alice.escaped, "X-SSL-Client-Cert", "X-Forwarded-Client-Cert"
    return {
        "a certificate it did not verify": {cert: ours, "X-SSL-Client-Verify": "FAILED:expired"},
        "a certificate, and not whether it verified": {cert: ours},
        "a verification of nothing": verified,
        "an expired one": {cert: shown.expired.escaped, **verified},
        "a revoked one": {cert: shown.revoked.escaped, **verified},
        "one of a foreign CA": {cert: shown.foreign.escaped, **verified},
        "one of a foreign CA as Envoy does": {envoys: f'Cert="{shown.foreign.escaped}"'},
        "a client's element before its own": {envoys: f'Cert="{shown.admin.escaped}",Cert="{shown.foreign.escaped}"'},
        "garbage": {cert: "garbage", **verified},
        "garbage as Envoy does": {envoys: 'Cert="'},
        "a certificate and another name": {cert: ours, **verified, "X-Authenticated-User": ADMIN},
        "a certificate and another common name": {cert: ours, **verified, "X-SSL-Client-S-DN-CN": ADMIN},
        "two names": [("X-Authenticated-User", "alice@attacks.example"), ("X-Authenticated-User", ADMIN)],
        "a name of nobody": {"X-Authenticated-User": "nobody@attacks.example"},
        "a very long name": {"X-Authenticated-User": "a" * 3000},
        "two common names": {**verified, "X-SSL-Client-S-DN": f"CN=alice@attacks.example,CN={ADMIN}"},
        "nothing": {},
    }  # fmt: skip


SAID = {
    "a certificate it did not verify": "proxy_verify_failed",
    "a certificate, and not whether it verified": "proxy_misconfigured",
    "a verification of nothing": "proxy_misconfigured",
    "an expired one": "certificate_expired",
    "a revoked one": "certificate_revoked",
    "one of a foreign CA": "certificate_refused",
    "one of a foreign CA as Envoy does": "certificate_refused",
    "a client's element before its own": "certificate_refused",
    "garbage": "certificate_unreadable",
    "garbage as Envoy does": "proxy_misconfigured",
    "a certificate and another name": "credentials_disagree",
    "a certificate and another common name": "proxy_misconfigured",
    "two names": "proxy_misconfigured",
    "a name of nobody": "certificate_identity_unknown",
    "a very long name": "proxy_misconfigured",
    "two common names": "token_missing",
    "nothing": "token_missing",
}


@pytest.mark.attack("by a trusted proxy, of its client's certificate", 401)
@pytest.mark.parametrize(("kind", "code"), SAID.items(), ids=SAID)
def test_a_trusted_proxy_is_not_believed_everything(
    ground: Ground, expected: Expected, shown: Shown, kind: str, code: str
) -> None:
    marker, headers = marked(), said_by_proxies(shown)[kind]
    assert expected.code == code
    ground.refused(shown.front.call(shown.proxy, headers, marker), expected)
    assert not ground.left(marker)
