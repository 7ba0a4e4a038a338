"""CA keys in a PKCS#11 token: a real SoftHSM."""

import os
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from interlock_certs.authority import Authority
from interlock_certs.ca_keys import Algorithm, KeyCare
from interlock_certs.errors import AuthorityUnusable, KeyMismatch, TokenAway, TokenUnusable
from interlock_certs.plan import Plan
from interlock_certs.profiles import Grant
from interlock_common.testing.clock import ManualClock

pkcs11 = pytest.importorskip("pkcs11")
from interlock_certs.hsm import HsmToken  # noqa: E402 - after it is known that the extra is there

DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
# pyright: reportPrivateUsage=false
PIN, SO_PIN = "5678", "1234-security-officer"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
MODULE = next((Path(path) for path in MODULES if Path(path).exists()), None)
pytestmark = pytest.mark.skipif(
    MODULE is None or shutil.which("softhsm2-util") is None, reason="SoftHSM is not installed (apt install softhsm2)"
)


@pytest.fixture(scope="module", autouse=True)
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of tokens for the whole module: the library reads its configuration once in a process."""
    directory = tmp_path_factory.mktemp("softhsm")
    (directory / "tokens").mkdir()
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    for label in ("interlock", "twin", "twin"):
        command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", SO_PIN, "--pin", PIN]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    yield
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture(scope="module")
def token(softhsm: Any) -> HsmToken:  # noqa: ARG001 - it must be there first
    assert MODULE is not None
    return HsmToken(MODULE, "interlock", PIN)


def opened(directory: Path, plan: Plan, clock: ManualClock, token: HsmToken, algorithm: Algorithm) -> Authority:
    return Authority.open(directory, replace(plan, care=KeyCare(algorithm, token=token)), clock)


@pytest.mark.parametrize("algorithm", ["p256", "p384", "rsa3072", "rsa4096"])
def test_a_ca_lives_in_a_token_and_openssl_verifies_what_it_signs(
    algorithm: Algorithm, plan: Plan, clock: ManualClock, tmp_path: Path, token: HsmToken
) -> None:
    ca = tmp_path / "ca"
    authority = opened(ca, plan, clock, token, algorithm)
    leaf = authority.issue("auth", KEY, Grant(DAY))
    for key in ("root.key", "issuing.key"):
        assert (ca / key).read_text().startswith("pkcs11:token=interlock;object=interlock-ca-")
    (tmp_path / "root.pem").write_bytes(authority.bundle_pem)
    (tmp_path / "chain.pem").write_bytes(leaf.chain_pem)
    subprocess.run(
        ["openssl", "verify", "-x509_strict", "-attime", str(int(clock.time())), "-CAfile", "root.pem",
         "-untrusted", "chain.pem", "chain.pem"],
        cwd=tmp_path, check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    assert opened(ca, plan, clock, token, algorithm).certificates == authority.certificates


def test_a_ca_in_a_token_renews_and_signs_crls(plan: Plan, clock: ManualClock, tmp_path: Path, token: HsmToken) -> None:
    authority = opened(tmp_path, plan, clock, token, "p256")
    before = authority.issue("auth", KEY, Grant(DAY)).issuer
    clock.advance(300 * 86400)
    assert authority.issue("auth", KEY, Grant(DAY)).issuer != before
    old = authority.issuers[1]
    builder = x509.CertificateRevocationListBuilder().issuer_name(before.subject)
    public: Any = before.public_key()
    assert old.sign(builder.last_update(clock.now()).next_update(clock.now() + DAY)).is_signature_valid(public)


def test_the_issuing_request_for_an_offline_root_is_signed_in_the_token(
    plan: Plan, clock: ManualClock, tmp_path: Path, token: HsmToken
) -> None:
    with pytest.raises(AuthorityUnusable, match="have the offline root sign"):
        opened(tmp_path, replace(plan, root="offline"), clock, token, "p384")
    assert x509.load_pem_x509_csr((tmp_path / "issuing.csr").read_bytes()).is_signature_valid


def test_keys_cannot_be_read_and_do_nothing_but_sign(
    plan: Plan, clock: ManualClock, tmp_path: Path, token: HsmToken
) -> None:
    for algorithm, used in (("p256", "exchange"), ("rsa3072", "decrypt")):
        key: Any = opened(tmp_path / algorithm, plan, clock, token, algorithm).issuer.key  # pyright: ignore[reportArgumentType]
        with pytest.raises(UnsupportedAlgorithm, match="stays in its token"):
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(UnsupportedAlgorithm, match="stays in its token"):
            key.private_numbers()
        with pytest.raises(UnsupportedAlgorithm, match="does nothing else"):
            getattr(key, used)(None, None)
    with pytest.raises(UnsupportedAlgorithm, match="PKCS #1"):
        key.sign(b"", padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def test_a_session_that_broke_is_opened_again(plan: Plan, clock: ManualClock, tmp_path: Path, token: HsmToken) -> None:
    authority = opened(tmp_path, plan, clock, token, "p256")
    token._session.close()
    assert authority.issue("auth", KEY, Grant(DAY))


def test_a_token_that_is_gone_is_unavailable(
    plan: Plan, clock: ManualClock, tmp_path: Path, token: HsmToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = opened(tmp_path, plan, clock, token, "p256")
    token._session.close()
    monkeypatch.setattr(token, "_label", "unplugged")
    with pytest.raises(TokenAway, match="PKCS11_TOKEN: there is no token of that label"):
        authority.issue("auth", KEY, Grant(DAY))
    monkeypatch.undo()
    assert authority.issue("auth", KEY, Grant(DAY))


def test_what_is_wrong_with_the_settings_is_told_apart(tmp_path: Path, token: HsmToken) -> None:
    assert MODULE is not None
    assert token
    (tmp_path / "text").write_text("no library")
    for module, label, pin, why in (
        (tmp_path / "none", "interlock", PIN, "PKCS11_MODULE .* is no file"),
        (tmp_path / "text", "interlock", PIN, "PKCS11_MODULE .* is no PKCS#11 library"),
        (MODULE, "other", PIN, "PKCS11_TOKEN: there is no token of that label"),
        (MODULE, "twin", PIN, "PKCS11_TOKEN: there is more than one token of that label"),
    ):
        with pytest.raises(TokenUnusable, match=why) as refused:
            HsmToken(module, label, pin)
        assert pin not in refused.value.detail


def test_a_wrong_pin_says_so(token: HsmToken) -> None:
    assert MODULE is not None
    token._session.close()
    with pytest.raises(TokenUnusable, match="PKCS11_PIN is not the PIN of the token") as refused:
        HsmToken(MODULE, "interlock", "0000")
    assert "0000" not in refused.value.detail


def test_a_key_file_that_names_no_key_of_the_token_says_so(
    plan: Plan, clock: ManualClock, tmp_path: Path, token: HsmToken
) -> None:
    opened(tmp_path, plan, clock, token, "p256")
    root, key = (tmp_path / "root.key").read_bytes(), tmp_path / "issuing.key"
    for content, kind, why in (
        (b"pkcs11:object=nobody", AuthorityUnusable, "has not exactly one such key"),
        (b"pkcs11:token=other;object=a", AuthorityUnusable, "the key is in the token 'other', and PKCS11_TOKEN is"),
        (b"pkcs11:", AuthorityUnusable, "needs object= or id="),
        (b"pkcs11:object=%ff%00;id=%zz", AuthorityUnusable, "has not exactly one such key"),
        (root, KeyMismatch, r"issuing\.key is not the key of a certificate in"),
    ):
        key.write_bytes(content)
        with pytest.raises(kind, match=why):
            opened(tmp_path, plan, clock, token, "p256")
