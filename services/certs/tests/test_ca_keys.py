import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_public_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock_certs.authority import Authority
from interlock_certs.ca_keys import Algorithm, KeyCare
from interlock_certs.errors import AuthorityUnusable, KeyFileOpen, WrongPassphrase
from interlock_certs.plan import Plan
from interlock_common.testing.clock import ManualClock

SECRET = b"correct horse battery staple"
SEALED = KeyCare(passphrase=SECRET)


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_keys_are_encrypted_at_rest_with_a_passphrase(plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, replace(plan, care=SEALED), clock)
    for name in ("root.key", "issuing.key"):
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / name).read_bytes()
    assert Authority.open(tmp_path, replace(plan, care=SEALED), clock).certificates == authority.certificates


def test_a_wrong_and_a_missing_passphrase_are_told_apart(plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    Authority.open(tmp_path, replace(plan, care=SEALED), clock)
    with pytest.raises(WrongPassphrase, match=r"CA_KEY_PASSPHRASE does not open .*issuing\.key"):
        Authority.open(tmp_path, replace(plan, care=KeyCare(passphrase=b"something else")), clock)
    with pytest.raises(WrongPassphrase, match=r"issuing\.key is encrypted: set CA_KEY_PASSPHRASE"):
        Authority.open(tmp_path, plan, clock)


def test_keys_that_were_plain_are_encrypted_once_there_is_a_passphrase(
    plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    before = Authority.open(tmp_path, plan, clock)
    after = Authority.open(tmp_path, replace(plan, care=SEALED), clock)
    assert after.certificates == before.certificates
    assert all(b"ENCRYPTED" in (tmp_path / name).read_bytes() for name in ("root.key", "issuing.key"))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602, 0o666])
def test_a_key_that_others_may_read_or_change_stops_the_start(
    plan: Plan, clock: ManualClock, tmp_path: Path, mode: int
) -> None:
    Authority.open(tmp_path, plan, clock)
    (tmp_path / "issuing.key").chmod(mode)
    with pytest.raises(KeyFileOpen, match=rf"issuing\.key has mode {mode:o}, .*chmod 600"):
        Authority.open(tmp_path, plan, clock)


def test_a_folder_that_everybody_may_change_stops_the_start(plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca").chmod(0o777)
    with pytest.raises(KeyFileOpen, match=r"CA_DIR .*/ca may be changed by everybody: chmod o-w"):
        Authority.open(tmp_path / "ca", plan, clock)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_the_group_of_a_container_may_read(plan: Plan, clock: ManualClock, tmp_path: Path, mode: int) -> None:
    Authority.open(tmp_path, plan, clock)
    (tmp_path / "issuing.key").chmod(mode)
    assert Authority.open(tmp_path, plan, clock)


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()])
def test_ca_keys_of_other_kinds_are_refused(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(AuthorityUnusable, match="the key must be P-256, P-384 or RSA"):
        KeyCare().load(written(tmp_path / "issuing.key", pem))


def test_a_key_in_a_token_needs_the_module(tmp_path: Path) -> None:
    with pytest.raises(AuthorityUnusable, match="set PKCS11_MODULE"):
        KeyCare().load(written(tmp_path / "issuing.key", b"pkcs11:object=issuing\n"))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400), head=st.sampled_from([b"", b"-----BEGIN PRIVATE KEY-----\n",
       b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
       b"pkcs11:"]), secret=st.sampled_from([None, SECRET]))  # fmt: skip
def test_garbage_is_no_key_and_never_an_accident(
    tmp_path: Path, content: bytes, head: bytes, secret: bytes | None
) -> None:
    with pytest.raises(AuthorityUnusable):
        KeyCare(passphrase=secret).load(written(tmp_path / "issuing.key", head + content))


def test_a_passphrase_is_never_shown() -> None:
    assert "horse" not in repr(SEALED)


@pytest.mark.parametrize("algorithm", ["p256", "rsa3072"])
def test_openssl_opens_a_key_with_its_passphrase(tmp_path: Path, algorithm: Algorithm) -> None:
    made = KeyCare(algorithm, SECRET).create(tmp_path / "issuing.key")
    command = ["openssl", "pkey", "-in", str(tmp_path / "issuing.key"), "-passin", f"pass:{SECRET.decode()}", "-pubout"]
    opened = subprocess.run(command, check=True, capture_output=True, timeout=30).stdout
    assert load_pem_public_key(opened) == made.public_key()
    assert KeyCare(algorithm, SECRET).load(tmp_path / "issuing.key").public_key() == made.public_key()


def test_guessing_a_passphrase_is_slow(tmp_path: Path) -> None:
    KeyCare(passphrase=SECRET).create(tmp_path / "issuing.key")
    command = ["openssl", "asn1parse", "-in", str(tmp_path / "issuing.key")]
    parsed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    assert f":{600_000:06X}" in parsed
    assert ":aes-256-cbc" in parsed
