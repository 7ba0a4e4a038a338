"""The CA of a folder: made once, read each time, and what it signs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519

from interlock_cli.certificates import form
from interlock_cli.certificates.errors import AuthorityUnusable, IncompletePair
from interlock_cli.certificates.files import is_there
from interlock_cli.certificates.form import Leaf, Validity
from interlock_cli.certificates.keys import PrivateKey, PublicKey
from interlock_cli.certificates.passphrases import CA_VARIABLE, passphrase
from interlock_cli.certificates.reading import has_encrypted_key, read_certificate, read_key, require_match
from interlock_common.clock import Clock

BACKDATED = timedelta(minutes=1)
"""For peers whose clock is behind."""


@dataclass(frozen=True)
class Authority:
    """A CA certificate, its key, and the files they came from."""

    certificate: x509.Certificate
    key: PrivateKey
    certificate_path: Path

    def issue(self, leaf: Leaf, key: PublicKey, days: int, now: datetime) -> x509.Certificate:
        """A certificate that ends with its CA at the latest. Raises AuthorityUnusable for a name it may not sign."""
        permitted = _permitted(self.certificate)
        refused = [_text(name) for name in leaf.names if not form.is_permitted(name, permitted)]
        if refused:
            raise AuthorityUnusable(f"the name constraints of {self.certificate_path} do not permit "
                                    f"{', '.join(refused)}: nobody would accept the certificate")  # fmt: skip
        begin = max(now - BACKDATED, self.certificate.not_valid_before_utc)
        validity = Validity(begin, min(now + timedelta(days=days), self.certificate.not_valid_after_utc))
        return form.leaf(leaf, key, self.certificate, validity).sign(self.key, signing_hash(self.key))


def open_authority(key_path: Path, certificate_path: Path, clock: Clock, file: Path | None) -> Authority:
    """The CA of two files, checked to be one. ``file`` may hold the passphrase of its key.

    Raises AuthorityUnusable, and what reading the files raises.
    """
    if not is_there(key_path):
        raise IncompletePair(f"{certificate_path} is there without {key_path}: put the key back to sign with it")
    certificate = read_certificate(certificate_path)
    require_authority(certificate, certificate_path, clock.now())
    opened = passphrase(CA_VARIABLE, file, f"Passphrase of {key_path}") if has_encrypted_key(key_path) else None
    key = read_key(key_path, opened)
    require_match(key, key_path, certificate, certificate_path)
    return Authority(certificate, key, certificate_path)


def new_authority(
    common_name: str, key: PrivateKey, days: int, now: datetime, permitted: Sequence[x509.GeneralName]
) -> x509.Certificate:
    """The self-signed certificate of a new CA."""
    validity = Validity(now - BACKDATED, now + timedelta(days=days))
    return form.authority(common_name, key.public_key(), validity, permitted).sign(key, signing_hash(key))


def self_signed(leaf: Leaf, key: PrivateKey, days: int, now: datetime) -> x509.Certificate:
    """A leaf without a CA."""
    validity = Validity(now - BACKDATED, now + timedelta(days=days))
    return form.self_signed(leaf, key.public_key(), validity).sign(key, signing_hash(key))


def require_authority(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    """Raises AuthorityUnusable unless the certificate is one of a CA, and counts now."""
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if not is_ca:
        raise AuthorityUnusable(f"{path} is no CA certificate: it may not sign others")
    if now >= certificate.not_valid_after_utc:
        raise AuthorityUnusable(f"the CA in {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: "
                                "make a new one with --force, then every certificate below it")  # fmt: skip
    if now < certificate.not_valid_before_utc:
        raise AuthorityUnusable(f"the CA in {path} counts from {certificate.not_valid_before_utc:%Y-%m-%d} on only: "
                                "is the clock of this machine right?")  # fmt: skip


def signing_hash(key: PrivateKey) -> hashes.SHA256 | None:
    """Ed25519 brings its own."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _permitted(certificate: x509.Certificate) -> Sequence[x509.GeneralName]:
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or ()
    except x509.ExtensionNotFound:
        return ()


def _text(name: x509.GeneralName) -> str:
    return str(name.value)
