"""What is wrong with a file of the front end is said in words: which setting, which file, what."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import ConfigurationError
from interlock_common.testing.chains import ChainAuthority, Pair
from interlock_gateway.config import Settings
from interlock_gateway.tls_front.front import Source, TlsFront

ROOT = ChainAuthority.root()
ISSUING = ROOT.below("issuing")
PASSWORD = "correct horse"


@dataclass
class Desk:
    """A folder with a good pair and the root; a test spoils one thing and sees what is said."""

    directory: Path
    pair: Pair = field(default_factory=ISSUING.issue)
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.cert, self.key = self.pair.write(self.directory)
        self.authorities = self.directory / "ca.pem"
        self.authorities.write_bytes(ROOT.pem)
        self.settings = {"ssl": True, "cert_file": self.cert, "key_file": self.key, "identity_dir": self.directory}

    def front(self, **changes: Any) -> TlsFront | None:
        source = Source.of(Settings(**(self.settings | changes)), SYSTEM_CLOCK)
        return TlsFront(source, SYSTEM_CLOCK) if source is not None else None

    def refuses(self, reason: str, **changes: Any) -> None:
        with pytest.raises(ConfigurationError, match=reason.format(desk=re.escape(str(self.directory)))):
            self.front(**changes)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_good_pair_is_served(desk: Desk) -> None:
    front = desk.front()
    assert front is not None
    assert front.leaf == desk.pair.leaf


def test_settings_come_from_the_environment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    written = {
        "SSL": "true", "CERT_FILE": desk.cert, "KEY_FILE": desk.key, "KEY_FILE_PASSWORD": "", "CERT_REQS": "2",
        "CA_CERTS": desk.authorities, "CERT_CHAIN_DEPTH": "3",
    }  # fmt: skip
    for name, value in written.items():
        monkeypatch.setenv(name, str(value))
    source = Source.of(Settings.load(), SYSTEM_CLOCK)
    assert source is not None
    assert (source.demand, source.depth, source.password) == (ssl.CERT_REQUIRED, 3, None)
    monkeypatch.setenv("CERT_REQS", "3")
    with pytest.raises(ConfigurationError, match="CERT_REQS"):
        Settings.load()


def test_without_ssl_nothing_is_read_and_client_certificates_cannot_be_asked_for(desk: Desk) -> None:
    assert desk.front(ssl=False, cert_file=Path("nowhere")) is None
    desk.refuses("CERT_REQS=2 asks clients for certificates, and SSL is off", ssl=False, cert_reqs=2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key_file": None}, "SSL is on and KEY_FILE is not set: it has to name the private key of CERT_FILE"),
        ({"cert_file": None}, "SSL is on and CERT_FILE is not set"),
        ({"cert_file": Path("/nowhere/cert.pem")}, "CERT_FILE /nowhere/cert.pem cannot be read: No such file"),
        ({"key_file": Path("/nowhere/key.pem")}, "KEY_FILE /nowhere/key.pem cannot be read: No such file"),
        ({"cert_reqs": 2}, "CERT_REQS=2 asks clients for certificates, and CA_CERTS does not say who issues them"),
        ({"cert_reqs": 1, "ca_certs": Path("/nowhere/ca.pem")}, "CA_CERTS /nowhere/ca.pem cannot be read"),
    ],
)
def test_settings_that_do_not_go_together_stop_the_start(desk: Desk, changes: dict[str, Any], reason: str) -> None:
    desk.refuses(reason, **changes)


def _empty(desk: Desk) -> None:
    desk.cert.write_text("nothing")


def _no_key(desk: Desk) -> None:
    desk.key.write_bytes(desk.pair.chain)


def _huge(desk: Desk) -> None:
    desk.cert.write_bytes(desk.pair.chain + b"\n" * 1024 * 1024)


def _other_key(desk: Desk) -> None:
    desk.key.write_bytes(ISSUING.issue().key)


def _wrong_order(desk: Desk) -> None:
    desk.cert.write_bytes(ISSUING.pem + desk.pair.leaf.public_bytes(Encoding.PEM))


def _broken_chain(desk: Desk) -> None:
    desk.cert.write_bytes(desk.pair.leaf.public_bytes(Encoding.PEM) + ROOT.below("other").pem)


def _expired(desk: Desk) -> None:
    begins = SYSTEM_CLOCK.now() - timedelta(days=2)
    ISSUING.issue(begins=begins, lifetime=timedelta(days=1)).write(desk.directory)


def _too_early(desk: Desk) -> None:
    ISSUING.issue(begins=SYSTEM_CLOCK.now() + timedelta(days=1)).write(desk.directory)


def _for_clients(desk: Desk) -> None:
    ISSUING.issue(uses=(ExtendedKeyUsageOID.CLIENT_AUTH,)).write(desk.directory)


def _small_key(desk: Desk) -> None:
    ISSUING.issue(key=rsa.generate_private_key(65537, 1024)).write(desk.directory)  # noqa: S505 - to be refused


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_empty, "CERT_FILE {desk}/cert.pem holds no PEM certificates"),
        (_no_key, "KEY_FILE {desk}/key.pem holds no PEM private key"),
        (_huge, "CERT_FILE {desk}/cert.pem is over 1048576 bytes"),
        (_other_key, r"KEY_FILE {desk}/key.pem is not the private key of the certificate in CERT_FILE .*\(CN=leaf\)"),
        (_wrong_order, "CERT_FILE {desk}/cert.pem has its certificates in the wrong order"),
        (_broken_chain, "the chain in CERT_FILE .* is broken: certificate 2, CN=other, did not issue certificate 1"),
        (_expired, "CERT_FILE {desk}/cert.pem: the certificate expired at 20"),
        (_too_early, "CERT_FILE {desk}/cert.pem: the certificate counts only from 20"),
        (_for_clients, "the certificate in CERT_FILE .* is not for servers"),
        (_small_key, "KEY_FILE {desk}/key.pem is an RSA key of 1024 bits, at least 2048 are needed"),
    ],
)
def test_what_is_wrong_with_a_pair_is_told_apart(desk: Desk, spoil: Callable[[Desk], None], reason: str) -> None:
    spoil(desk)
    desk.refuses(reason)


def test_an_expired_intermediate_is_told_from_an_expired_leaf(desk: Desk) -> None:
    old = ChainAuthority.root("old", lifetime=timedelta(seconds=1))
    leaf = old.issue(lifetime=timedelta(days=3))
    desk.cert.write_bytes(leaf.chain + old.pem)
    desk.key.write_bytes(leaf.key)
    desk.refuses("the chain: certificate 2, CN=old, expired at")


def test_an_encrypted_key_is_opened_in_memory_only(desk: Desk) -> None:
    desk.key.write_bytes(desk.pair.encrypted(PASSWORD))
    before = {path: path.read_bytes() for path in desk.directory.iterdir()}
    assert desk.front(key_file_password=PASSWORD) is not None
    assert {path: path.read_bytes() for path in desk.directory.iterdir()} == before


def test_a_missing_passphrase_and_a_wrong_one_are_told_apart_and_not_shown(desk: Desk) -> None:
    desk.key.write_bytes(desk.pair.encrypted(PASSWORD))
    desk.refuses("KEY_FILE {desk}/key.pem is encrypted, and KEY_FILE_PASSWORD is not set")
    desk.refuses("^KEY_FILE_PASSWORD is not the passphrase of KEY_FILE {desk}/key.pem$", key_file_password="wrong")


def test_authorities_are_ca_certificates_that_still_count(desk: Desk) -> None:
    mutual = {"cert_reqs": 2, "ca_certs": desk.authorities}
    assert desk.front(**mutual) is not None
    desk.authorities.write_bytes(desk.pair.chain)
    desk.refuses("CA_CERTS {desk}/ca.pem holds CN=leaf, which is no CA certificate", **mutual)
    desk.authorities.write_bytes(ChainAuthority.root("old", lifetime=timedelta(seconds=1)).pem)
    desk.refuses("CA_CERTS {desk}/ca.pem: every CA certificate in it has expired", **mutual)
    desk.authorities.write_text("")
    desk.refuses("CA_CERTS {desk}/ca.pem holds no PEM certificates", **mutual)
