import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from interlock_common.identity import Identity
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.pki import ScratchAuthority
from interlock_common.tls import UnusableIdentity

SPIFFE = "spiffe://interlock.test/svc/auth"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def authority(clock: ManualClock) -> ScratchAuthority:
    return ScratchAuthority(clock=clock)


@pytest.fixture
def identity(tmp_path: Path, clock: ManualClock) -> Identity:
    return Identity("auth", "interlock.test", tmp_path / "identity", clock)


def test_an_installed_identity_is_usable_until_its_leaf_expires(
    identity: Identity, authority: ScratchAuthority, clock: ManualClock
) -> None:
    assert not identity.is_usable()
    key, chain = authority.issue(spiffe=SPIFFE, lifetime=timedelta(hours=1))
    identity.install(key, chain, authority.bundle_pem)
    assert identity.is_usable()
    assert identity.not_after == START + timedelta(hours=1)
    clock.advance(3599)
    assert identity.is_usable()
    clock.advance(1)
    assert not identity.is_usable()
    assert "not at this moment" in (identity.problem() or "")


def test_the_key_is_private(identity: Identity, authority: ScratchAuthority) -> None:
    identity.install(*authority.issue(spiffe=SPIFFE), authority.bundle_pem)
    assert identity.key_path.stat().st_mode & 0o777 == 0o600
    assert identity.directory.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in identity.directory.iterdir()) == ["bundle.pem", "cert.pem", "key.pem"]


def test_what_does_not_belong_together_changes_nothing(
    identity: Identity, authority: ScratchAuthority, clock: ManualClock
) -> None:
    key, chain = authority.issue(spiffe=SPIFFE)
    identity.install(key, chain, authority.bundle_pem)
    other_key, other_chain = authority.issue(spiffe="spiffe://interlock.test/svc/audit")
    stranger = ScratchAuthority("stranger", clock)
    wrong = {
        "is not the key": (other_key, chain, authority.bundle_pem),
        "is not named": (other_key, other_chain, authority.bundle_pem),
        "is not verified by": (*stranger.issue(spiffe=SPIFFE), authority.bundle_pem),
        "no unencrypted PEM private key": (b"nonsense", chain, authority.bundle_pem),
        "cert.pem holds no PEM certificates": (key, b"nonsense", authority.bundle_pem),
        "bundle.pem holds no PEM certificates": (key, chain, b"nonsense"),
    }
    for reason, files in wrong.items():
        with pytest.raises(UnusableIdentity, match=reason):
            identity.install(*files)
        assert identity.key_path.read_bytes() == key
        assert identity.is_usable()


def test_a_missing_file_is_named(identity: Identity, authority: ScratchAuthority) -> None:
    identity.install(*authority.issue(spiffe=SPIFFE), authority.bundle_pem)
    identity.bundle_path.unlink()
    assert identity.problem() == f"{identity.bundle_path} cannot be read: No such file or directory"
    with pytest.raises(UnusableIdentity, match=r"bundle\.pem cannot be read"):
        identity.client_context()
    identity.install(*authority.issue(spiffe=SPIFFE), authority.bundle_pem)
    identity.key_path.write_bytes(b"nonsense")
    with pytest.raises(UnusableIdentity, match="do not make a certificate with its key"):
        identity.client_context()


def test_each_context_is_new_and_demands_what_it_should(identity: Identity, authority: ScratchAuthority) -> None:
    identity.install(*authority.issue(spiffe=SPIFFE), authority.bundle_pem)
    client = identity.client_context()
    assert client is not identity.client_context()
    assert client.minimum_version is ssl.TLSVersion.TLSv1_2
    assert client.check_hostname
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert identity.server_context(client_certificates=ssl.CERT_REQUIRED).verify_mode is ssl.CERT_REQUIRED
    assert identity.server_context(client_certificates=ssl.CERT_NONE).verify_mode is ssl.CERT_NONE
