"""An enterprise brings its root, a policy CA, an issuing CA and the key of that one."""

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock_certs.authority import Authority
from interlock_certs.ca_keys import KeyCare
from interlock_certs.errors import (
    AuthorityUnusable,
    ChainBroken,
    ChainExpired,
    KeyFileOpen,
    KeyMismatch,
    WrongPassphrase,
)
from interlock_certs.plan import Brought, Plan
from interlock_certs.profiles import Grant
from interlock_common.testing.clock import ManualClock

DAY = timedelta(days=1)
SECRET = b"the enterprise's secret"
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
RSA = rsa.generate_private_key(65537, 3072)


@dataclass(frozen=True)
class Ca:
    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make(
    text: str, now: datetime, above: Ca | None = None, *, key: Any = None, ca: bool = True, path: int | None = None,
    days: tuple[float, float] = (-1, 1000), sign: bool = True, own_id: bool = True, above_id: bool = True,
) -> Ca:  # fmt: skip
    key = key or ec.generate_private_key(ec.SECP384R1())
    usage = x509.KeyUsage(False, False, False, False, False, sign, sign, False, False)
    builder = (
        x509.CertificateBuilder().subject_name(name(text))
        .issuer_name(above.certificate.subject if above else name(text)).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY).not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path if ca else None), critical=True)
        .add_extension(usage, critical=True)
    )  # fmt: skip
    if own_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if above_id and above is not None:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
    return Ca(builder.sign(above.key if above else key, hashes.SHA384()), key)


class Enterprise:
    """Its three files, as they are mounted into certs."""

    def __init__(self, directory: Path, now: datetime) -> None:
        directory.mkdir()
        self.now = now
        self.files = Brought(directory / "root.pem", directory / "chain.pem", directory / "key.pem")
        self.root = make("Example Root", now, key=RSA)
        self.policy = make("Example Policy CA", now, self.root)
        self.issuing = make("Example Interlock CA", now, self.policy)
        self.write()

    def write(self, *chain: Ca, key: Any = None, secret: bytes | None = SECRET) -> None:
        self.files.root.write_bytes(self.root.pem)
        self.files.issuing.write_bytes(b"".join(ca.pem for ca in chain or (self.issuing, self.policy)))
        encryption = BestAvailableEncryption(secret) if secret else NoEncryption()
        pem = (key or self.issuing.key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        new = self.files.key.with_suffix(".new")
        new.write_bytes(pem)
        new.chmod(0o600)
        new.rename(self.files.key)


@pytest.fixture
def enterprise(tmp_path: Path, clock: ManualClock) -> Enterprise:
    return Enterprise(tmp_path / "pki", clock.now())


@pytest.fixture
def plan(plan: Plan, enterprise: Enterprise) -> Plan:
    return replace(plan, care=KeyCare(passphrase=SECRET), brought=enterprise.files)


def test_leaves_of_a_brought_chain_are_verified_by_its_root(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    authority = Authority.open(tmp_path / "ca", plan, clock)
    leaf = authority.issue("auth", KEY, Grant(DAY))
    between = x509.load_pem_x509_certificates(leaf.chain_pem)[1:]
    assert between == [enterprise.issuing.certificate, enterprise.policy.certificate]
    assert authority.bundle_pem == enterprise.root.pem
    assert not (tmp_path / "ca").exists()
    verifier = PolicyBuilder().store(Store([enterprise.root.certificate])).time(clock.now()).build_client_verifier()
    assert len(verifier.verify(leaf.certificate, between).chain) == 4


def test_a_leaf_never_outlives_the_chain(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    enterprise.policy = make("Example Policy CA", enterprise.now, enterprise.root, days=(-1, 10))
    enterprise.issuing = make("Example Interlock CA", enterprise.now, enterprise.policy)
    enterprise.write()
    leaf = Authority.open(tmp_path, plan, clock).issue("auth", KEY, Grant(90 * DAY))
    assert leaf.not_after == enterprise.now + 10 * DAY


def test_what_is_wrong_with_a_brought_chain_is_told_apart(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    now, root, policy = enterprise.now, enterprise.root, enterprise.policy

    def refused(kind: type[AuthorityUnusable], why: str, **changed: Any) -> None:
        with pytest.raises(kind, match=why):
            Authority.open(tmp_path, replace(plan, **changed), clock)

    refused(WrongPassphrase, r"CA_KEY_PASSPHRASE does not open .*key\.pem", care=KeyCare(passphrase=b"not this one"))
    refused(WrongPassphrase, r"key\.pem is encrypted: set CA_KEY_PASSPHRASE", care=KeyCare())
    enterprise.write(key=ec.generate_private_key(ec.SECP256R1()))
    refused(KeyMismatch, r"key\.pem is not the key of a certificate in .*chain\.pem")
    enterprise.write(enterprise.issuing)
    refused(ChainBroken, r"'CN=Example Interlock CA' in .*chain\.pem is not issued by the root 'CN=Example Root'")
    expired = make("Example Interlock CA", now, policy, days=(-20, -1))
    enterprise.write(expired, policy, key=expired.key)
    refused(ChainExpired, r"'CN=Example Interlock CA' in .*chain\.pem expired at ")
    early = make("Example Interlock CA", now, policy, days=(2, 20))
    enterprise.write(early, policy, key=early.key)
    refused(ChainExpired, "counts from .* on: look at the clock")
    leaf = make("Example Interlock CA", now, policy, ca=False, sign=False)
    enterprise.write(leaf, policy, key=leaf.key)
    refused(ChainBroken, "is no CA certificate")
    mute = make("Example Interlock CA", now, policy, sign=False)
    enterprise.write(mute, policy, key=mute.key)
    refused(ChainBroken, r"does not say that it may sign certificates \(keyUsage")
    for nameless, what in (
        (make("Example Interlock CA", now, policy, own_id=False), "subjectKeyIdentifier"),
        (make("Example Interlock CA", now, policy, above_id=False), "authorityKeyIdentifier"),
    ):
        enterprise.write(nameless, policy, key=nameless.key)
        refused(ChainBroken, f"has no {what}")
    narrow = make("Example Policy CA", now, root, path=0)
    below = make("Example Interlock CA", now, narrow)
    enterprise.write(below, narrow, key=below.key)
    refused(ChainBroken, "'CN=Example Policy CA' in .* allows 0 CAs below it")
    enterprise.root = policy
    enterprise.write()
    refused(ChainBroken, r"'CN=Example Policy CA' in .*root\.pem is no root")


def test_files_that_are_missing_or_open_are_named(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    enterprise.files.key.chmod(0o644)
    with pytest.raises(KeyFileOpen, match=r"key\.pem has mode 644.*Kubernetes Secret set defaultMode: 0400"):
        Authority.open(tmp_path, plan, clock)
    enterprise.files.root.unlink()
    with pytest.raises(AuthorityUnusable, match=r"root\.pem cannot be read: No such file"):
        Authority.open(tmp_path, plan, clock)


def test_a_renewed_chain_is_taken_over_while_certs_runs(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    authority = Authority.open(tmp_path, plan, clock)
    first = enterprise.issuing
    enterprise.issuing = make("Example Interlock CA", enterprise.now, enterprise.policy)
    enterprise.write()
    assert authority.issue("auth", KEY, Grant(DAY)).issuer == enterprise.issuing.certificate
    assert [one.certificate for one in authority.issuers] == [enterprise.issuing.certificate, first.certificate]


def test_a_changed_file_that_cannot_be_used_changes_nothing(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    authority = Authority.open(tmp_path, plan, clock)
    enterprise.write(key=ec.generate_private_key(ec.SECP256R1()))
    assert authority.issue("auth", KEY, Grant(DAY)).issuer == enterprise.issuing.certificate
    enterprise.root = make("Example Root", enterprise.now, key=RSA)
    enterprise.write()
    assert authority.issue("auth", KEY, Grant(DAY)).issuer == enterprise.issuing.certificate
    os.unlink(enterprise.files.issuing)  # noqa: PTH108
    assert authority.issue("auth", KEY, Grant(DAY)).issuer == enterprise.issuing.certificate


def test_a_brought_chain_that_ends_says_so(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path
) -> None:
    authority = Authority.open(tmp_path, plan, clock)
    clock.advance(1001 * 86400)
    with pytest.raises(ChainExpired, match=r"chain\.pem expired at .*: put the renewed chain there"):
        authority.issue("auth", KEY, Grant(DAY))
    assert enterprise.files.root.exists()


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 100_000),
    change=st.binary(max_size=6),
    cut=st.booleans(),
    which=st.sampled_from(["root", "issuing", "key"]),
)
def test_a_damaged_file_is_refused_in_words_or_means_the_same(
    enterprise: Enterprise, plan: Plan, clock: ManualClock, tmp_path: Path, at: int, change: bytes, cut: bool,
    which: str,
) -> None:  # fmt: skip
    enterprise.write(secret=None)
    path: Path = getattr(enterprise.files, which)
    content = path.read_bytes()
    at %= len(content)
    path.write_bytes(content[:at] + change + (b"" if cut else content[at + len(change) :]))
    try:
        authority = Authority.open(tmp_path, plan, clock)
    except AuthorityUnusable:
        return
    assert authority.certificates[0] == enterprise.issuing.certificate
