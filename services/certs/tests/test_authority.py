import ipaddress
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from interlock_certs.authority import Authority, Lifetimes
from interlock_certs.errors import AuthorityUnusable, RequestRejected
from interlock_certs.requests import requested_key
from interlock_common.testing.clock import ManualClock

DAY = timedelta(days=1)
SHA256 = hashes.SHA256()
LIFETIMES = Lifetimes(3650 * DAY, 365 * DAY)
VALID_CSR = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(Encoding.DER)
)


def csr(key: Any, *extensions: x509.ExtensionType, name: str = "", digest: Any = SHA256) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def sans(certificate: x509.Certificate) -> list[object]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [name.value for name in names]


def test_a_leaf_takes_nothing_from_its_request_but_the_key(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    wishes = (
        x509.SubjectAlternativeName([
            x509.UniformResourceIdentifier("spiffe://interlock.test/svc/bus-admin"), x509.DNSName("bus-admin"),
            x509.RFC822Name("admin@interlock.test"),
        ]),
        x509.BasicConstraints(ca=True, path_length=None),
    )  # fmt: skip
    leaf = authority.issue("auth", csr(key, *wishes, name="bus-admin"), DAY).certificate
    assert leaf.public_key() == key.public_key()
    assert sans(leaf) == ["spiffe://interlock.test/svc/auth"]
    assert leaf.subject == x509.Name([])
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_listeners_have_host_names_and_addresses(authority: Authority) -> None:
    leaf = authority.issue("bus", VALID_CSR, DAY, ("nats", "::1")).certificate
    assert sans(leaf) == ["spiffe://interlock.test/svc/bus", "nats", ipaddress.ip_address("::1")]


def test_proof_of_possession_is_demanded(authority: Authority) -> None:
    signed_by_another = bytearray(VALID_CSR)
    signed_by_another[-1] ^= 1
    with pytest.raises(RequestRejected, match="not signed by the key"):
        authority.issue("auth", bytes(signed_by_another), DAY)


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (rsa.generate_private_key(65537, 2048), hashes.SHA256()),
        (dsa.generate_private_key(2048), hashes.SHA256()),
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256()),
        (ec.generate_private_key(ec.SECP224R1()), hashes.SHA256()),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_of_other_kinds_are_refused(authority: Authority, key: Any, digest: Any) -> None:
    with pytest.raises(RequestRejected, match="the key must be P-256, P-384 or RSA"):
        authority.issue("auth", csr(key, digest=digest), DAY)


def test_a_strong_rsa_key_is_taken(authority: Authority) -> None:
    key = rsa.generate_private_key(65537, 3072)
    assert authority.issue("auth", csr(key), DAY).certificate.public_key() == key.public_key()


@given(st.binary(max_size=512) | st.tuples(st.integers(0, len(VALID_CSR) - 1), st.binary(min_size=1, max_size=4)))
def test_garbage_is_rejected_and_never_an_accident(garbage: bytes | tuple[int, bytes]) -> None:
    if isinstance(garbage, tuple):
        at, change = garbage
        garbage = VALID_CSR[:at] + change + VALID_CSR[at + len(change) :]
    try:
        requested_key(garbage)
    except RequestRejected:
        return
    assert garbage == VALID_CSR


def test_a_leaf_is_backdated_a_little_and_never_before_its_ca(authority: Authority, clock: ManualClock) -> None:
    clock.advance(3600)
    day = authority.issue("auth", VALID_CSR, DAY)
    assert (clock.now() - day.not_before, day.not_after - clock.now()) == (timedelta(minutes=1), DAY)
    short = authority.issue("auth", VALID_CSR, timedelta(seconds=10))
    assert clock.now() - short.not_before == timedelta(seconds=1)
    assert day.not_before >= authority.certificates[0].not_valid_before_utc
    assert day.serial != short.serial


def test_openssl_verifies_the_chain(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    leaf = authority.issue("auth", VALID_CSR, DAY)
    (tmp_path / "root.pem").write_bytes(authority.bundle_pem)
    (tmp_path / "chain.pem").write_bytes(leaf.chain_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(int(clock.time())),
               "-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"]  # fmt: skip
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_authority_is_the_same_after_a_restart(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    again = Authority.open(tmp_path / "ca", "interlock.test", LIFETIMES, clock)
    assert again.certificates == authority.certificates
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "ca").iterdir()}
    assert modes == {"root.key": 0o600, "issuing.key": 0o600, "root.crt": 0o644, "issuing.crt": 0o644}


def test_a_first_start_that_was_interrupted_starts_over(clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "creating").touch()
    (tmp_path / "root.key").write_bytes(b"half a key")
    assert Authority.open(tmp_path, "interlock.test", LIFETIMES, clock).issue("auth", VALID_CSR, DAY)
    assert not (tmp_path / "creating").exists()


def test_a_lost_root_is_never_quietly_replaced(authority: Authority, clock: ManualClock, tmp_path: Path) -> None:
    assert authority
    (tmp_path / "ca" / "root.crt").unlink()
    with pytest.raises(AuthorityUnusable, match=r"root\.crt cannot be read: .*restore it from its backup"):
        Authority.open(tmp_path / "ca", "interlock.test", LIFETIMES, clock)


def test_an_issuing_ca_past_two_thirds_is_followed_by_the_next(
    authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    before = authority.issue("auth", VALID_CSR, DAY)
    clock.advance(300 * 86400)
    after = authority.issue("auth", VALID_CSR, DAY)
    assert after.issuer != before.issuer
    after.issuer.verify_directly_issued_by(authority.certificates[1])
    again = Authority.open(tmp_path / "ca", "interlock.test", LIFETIMES, clock)
    assert again.certificates[0] == after.issuer


def test_without_the_root_key_issuing_goes_on_until_the_issuing_ca_ends(
    authority: Authority, clock: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "ca" / "root.key").unlink()
    again = Authority.open(tmp_path / "ca", "interlock.test", LIFETIMES, clock)
    assert again.certificates == authority.certificates
    clock.advance(364.5 * 86400)
    assert again.issue("auth", VALID_CSR, DAY).not_after == again.certificates[0].not_valid_after_utc
    clock.advance(86400)
    with pytest.raises(AuthorityUnusable, match=r"put root\.key back"):
        again.issue("auth", VALID_CSR, DAY)
