import ipaddress
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from interlock_certs.authority import Authority, Leaf
from interlock_certs.ca_keys import Algorithm, KeyCare
from interlock_certs.errors import AuthorityUnusable, ChainBroken, KeyMismatch
from interlock_certs.plan import Plan
from interlock_certs.profiles import Grant, named
from interlock_common.testing.clock import ManualClock

DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()


def issue(authority: Authority, lifetime: timedelta = DAY, **grant: Any) -> Leaf:
    return authority.issue("auth", KEY, Grant(lifetime, **grant))


def sans(certificate: x509.Certificate) -> list[object]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [name.value for name in names]


def test_a_leaf_is_its_identity_and_nothing_else(authority: Authority) -> None:
    leaf = issue(authority).certificate
    assert leaf.public_key() == KEY
    assert sans(leaf) == ["spiffe://interlock.test/svc/auth"]
    assert leaf.subject == x509.Name([])
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_listeners_have_host_names_and_addresses(authority: Authority) -> None:
    leaf = authority.issue("bus", KEY, Grant(DAY, named(("nats", "::1")))).certificate
    assert sans(leaf) == ["spiffe://interlock.test/svc/bus", "nats", ipaddress.ip_address("::1")]


def test_a_leaf_has_the_usages_and_the_subject_that_are_granted(authority: Authority) -> None:
    leaf = issue(authority, usages=frozenset({"server"}), common_name="auth").certificate
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert leaf.subject.rfc4514_string() == "CN=auth"
    assert not leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_a_leaf_points_to_where_its_revocation_is_answered(plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    place = x509.DistributionPoint([x509.UniformResourceIdentifier("http://certs/crl")], None, None, None)

    def pointers(_issuer: str) -> tuple[x509.ExtensionType, ...]:
        return (x509.CRLDistributionPoints([place]),)

    leaf = issue(Authority.open(tmp_path, replace(plan, pointers=pointers), clock)).certificate
    assert list(leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value) == [place]


def test_a_leaf_is_backdated_a_little_and_never_before_its_ca(authority: Authority, clock: ManualClock) -> None:
    clock.advance(3600)
    day = issue(authority)
    assert (clock.now() - day.not_before, day.not_after - clock.now()) == (timedelta(minutes=1), DAY)
    short = issue(authority, timedelta(seconds=10))
    assert clock.now() - short.not_before == timedelta(seconds=1)
    assert day.not_before >= authority.certificates[0].not_valid_before_utc
    assert day.serial != short.serial


@pytest.mark.parametrize("algorithm", ["p256", "p384", "rsa3072", "rsa4096"])
def test_openssl_verifies_the_chain_of_every_algorithm(
    algorithm: Algorithm, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    authority = Authority.open(tmp_path / "ca", replace(plan, care=KeyCare(algorithm)), clock)
    key: Any = authority.issuer.certificate.public_key()
    assert key.key_size == {"p256": 256, "p384": 384, "rsa3072": 3072, "rsa4096": 4096}[algorithm]
    verified(issue(authority), authority, clock, tmp_path)


def verified(leaf: Leaf, authority: Authority, clock: ManualClock, directory: Path) -> None:
    (directory / "root.pem").write_bytes(authority.bundle_pem)
    (directory / "chain.pem").write_bytes(leaf.chain_pem)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-attime", str(int(clock.time())),
               "-CAfile", "root.pem", "-untrusted", "chain.pem", "chain.pem"]  # fmt: skip
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_authority_is_the_same_after_a_restart(
    authority: Authority, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    again = Authority.open(tmp_path / "ca", plan, clock)
    assert again.certificates == authority.certificates
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "ca").iterdir()}
    assert modes == {"root.key": 0o600, "issuing.key": 0o600, "root.crt": 0o644, "issuing.crt": 0o644}


def test_a_first_start_that_was_interrupted_starts_over(plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "creating").touch()
    (tmp_path / "root.key").write_bytes(b"half a key")
    assert issue(Authority.open(tmp_path, plan, clock))
    assert not (tmp_path / "creating").exists()


def test_a_lost_root_is_never_quietly_replaced(
    authority: Authority, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    assert authority
    (tmp_path / "ca" / "root.crt").unlink()
    with pytest.raises(AuthorityUnusable, match=r"root\.crt cannot be read: .*restore it from its backup"):
        Authority.open(tmp_path / "ca", plan, clock)


def test_a_damaged_issuing_ca_is_never_quietly_replaced(
    authority: Authority, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    assert authority
    (tmp_path / "ca" / "issuing.crt").write_text("nonsense")
    with pytest.raises(AuthorityUnusable, match=r"issuing\.crt holds no PEM certificate"):
        Authority.open(tmp_path / "ca", plan, clock)


def test_files_that_do_not_belong_together_are_told_apart(
    authority: Authority, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    assert authority
    ca, other = tmp_path / "ca", tmp_path / "other"
    Authority.open(other, plan, clock)
    own = (ca / "issuing.key").read_bytes()
    (ca / "issuing.key").write_bytes((other / "issuing.key").read_bytes())
    with pytest.raises(KeyMismatch, match=r"issuing\.key is not the key of a certificate in .*issuing\.crt"):
        Authority.open(ca, plan, clock)
    (ca / "issuing.key").write_bytes(own)
    (ca / "root.crt").write_bytes((other / "root.crt").read_bytes())
    with pytest.raises(ChainBroken, match=r"Issuing CA.* is not issued by the root .*Root CA"):
        Authority.open(ca, plan, clock)


def test_an_issuing_ca_past_two_thirds_is_followed_by_the_next(
    authority: Authority, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    before = issue(authority)
    clock.advance(300 * 86400)
    after = issue(authority)
    assert after.issuer != before.issuer
    after.issuer.verify_directly_issued_by(authority.root)
    again = Authority.open(tmp_path / "ca", plan, clock)
    assert again.certificates[0] == after.issuer


def test_an_issuing_ca_that_was_followed_still_signs_crls_until_it_ends(
    authority: Authority, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    before = issue(authority).issuer
    clock.advance(300 * 86400)
    issue(authority)
    again = Authority.open(tmp_path / "ca", plan, clock)
    assert [issuer.certificate for issuer in again.issuers][1:] == [before]
    now = clock.now()
    crl = x509.CertificateRevocationListBuilder().issuer_name(before.subject).last_update(now).next_update(now + DAY)
    key: Any = before.public_key()
    assert again.issuers[1].sign(crl).is_signature_valid(key)
    clock.advance(70 * 86400)
    assert Authority.open(tmp_path / "ca", plan, clock).issuers[1:] == []
    assert list((tmp_path / "ca" / "retired").iterdir()) == []


@pytest.mark.parametrize("left", ["before", "after"])
def test_a_renewal_that_was_interrupted_goes_on(
    authority: Authority, plan: Plan, clock: ManualClock, tmp_path: Path, left: str
) -> None:
    ca = tmp_path / "ca"
    old = issue(authority).issuer
    old_key, old_certificate = (ca / "issuing.key").read_bytes(), (ca / "issuing.crt").read_bytes()
    clock.advance(300 * 86400)
    new = issue(authority).issuer
    (ca / "issuing-chain.pem").write_bytes((ca / "issuing.crt").read_bytes())
    if left == "before":  # the chain is there, nothing is in its place yet
        (ca / "next.key").write_bytes((ca / "issuing.key").read_bytes())
        (ca / "next.key").chmod(0o600)
        (ca / "issuing.key").write_bytes(old_key)
    (ca / "issuing.crt").write_bytes(old_certificate)
    again = Authority.open(ca, plan, clock)
    assert [issuer.certificate for issuer in again.issuers] == [new, old]
    assert {file.name for file in ca.iterdir()} == {"root.key", "issuing.key", "root.crt", "issuing.crt", "retired"}


def test_strong_rsa_leaves_are_issued_by_an_ec_ca(authority: Authority) -> None:
    key = rsa.generate_private_key(65537, 3072).public_key()
    assert authority.issue("auth", key, Grant(DAY)).certificate.public_key() == key


def test_a_p384_ca_signs_with_sha384(plan: Plan, clock: ManualClock, tmp_path: Path) -> None:
    leaf = issue(Authority.open(tmp_path, replace(plan, care=KeyCare("p384")), clock))
    assert isinstance(leaf.certificate.signature_hash_algorithm, hashes.SHA384)
