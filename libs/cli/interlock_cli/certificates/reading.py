"""Reads certificates and keys that somebody may have edited by hand; every mistake has its own sentence."""

import warnings
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from interlock_cli.certificates.errors import FileUnusable, KeyMismatch, PassphraseNeeded, WrongPassphrase
from interlock_cli.certificates.keys import PRIVATE_KEYS, PrivateKey, public_part
from interlock_cli.certificates.pem import Block, blocks, read_file

_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_KEY = "PRIVATE KEY"
_OPENSSH = "OPENSSH PRIVATE KEY"


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a file in their order, at least one. Raises FileUnusable."""
    return certificates_in(read_file(path), path)


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a file: the leaf of a chain. Raises FileUnusable."""
    return read_certificates(path)[0]


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """The private key of a file. Raises FileUnusable, PassphraseNeeded, WrongPassphrase."""
    return key_in(read_file(path), path, passphrase)


def certificates_in(content: bytes, source: object) -> list[x509.Certificate]:
    found = [block for block in blocks(content, source) if block.label in _CERTIFICATES]
    if not found:
        raise FileUnusable(f"{source} holds no certificate, but {_labels(blocks(content, source))}")
    return [_certificate(block, f"{source}" if len(found) == 1 else f"{source} (certificate {number})")
            for number, block in enumerate(found, 1)]  # fmt: skip


def key_in(content: bytes, source: object, passphrase: bytes | None = None) -> PrivateKey:
    """The one private key of ``content``; a passphrase is not used where the key is not encrypted."""
    block = _key_block(content, source)
    if block.is_encrypted and passphrase is None:
        raise PassphraseNeeded(f"{source} is encrypted: its passphrase is needed")
    try:
        key = load_pem_private_key(block.text, passphrase if block.is_encrypted else None)
    except (ValueError, TypeError) as error:
        if block.is_encrypted and "password" in str(error).lower():
            raise WrongPassphrase(f"the passphrase does not open {source}") from None
        raise FileUnusable(f"{source} is damaged: its {block.label} cannot be read") from None
    except UnsupportedAlgorithm:
        raise FileUnusable(f"{source} holds a key of a kind that is not supported") from None
    if not isinstance(key, PRIVATE_KEYS):
        raise FileUnusable(f"{source} holds a key that cannot sign certificates: RSA, ECDSA or Ed25519 can")
    return key


def read_public_key(path: Path) -> bytes:
    """The public key of a file, in the form that is compared. Raises FileUnusable."""
    found = blocks(read_file(path), path)
    if found[0].label != "PUBLIC KEY":
        raise FileUnusable(f"{path} holds no public key, but {_labels(found)}")
    try:
        return public_part(load_pem_public_key(found[0].text))
    except (ValueError, UnsupportedAlgorithm):
        raise FileUnusable(f"{path} is damaged: its PUBLIC KEY cannot be read") from None


def has_encrypted_key(path: Path) -> bool:
    """Whether the key of a file needs a passphrase. Raises FileUnusable where there is no key."""
    return _key_block(read_file(path), path).is_encrypted


def require_match(key: PrivateKey, key_path: Path, certificate: x509.Certificate, certificate_path: Path) -> None:
    """Raises KeyMismatch unless the certificate was made for the key."""
    if public_part(key.public_key()) != public_part(certificate.public_key()):
        raise KeyMismatch(f"{key_path} is not the key of the certificate in {certificate_path}")


def _certificate(block: Block, source: str) -> x509.Certificate:
    if block.label == "TRUSTED CERTIFICATE":
        raise FileUnusable(f"{source} is in OpenSSL's own TRUSTED form: convert it with `openssl x509 -in … -out …`")
    try:
        with warnings.catch_warnings(action="ignore"):  # of serial numbers and the like that still load
            certificate = x509.load_pem_x509_certificate(block.text)
            _read_all_of(certificate)
    except (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise FileUnusable(f"{source} is damaged: the certificate cannot be read") from None
    except UnsupportedAlgorithm:
        raise FileUnusable(f"{source} holds a certificate for a key of a kind that is not supported") from None
    return certificate


def _read_all_of(certificate: x509.Certificate) -> None:
    """A part is parsed when it is asked for: afterwards none of them can fail any more."""
    _ = certificate.subject, certificate.issuer, certificate.extensions, certificate.serial_number
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.version
    _ = certificate.public_key(), certificate.signature_algorithm_oid


def _key_block(content: bytes, source: object) -> Block:
    found = blocks(content, source)
    keys = [block for block in found if block.label.endswith(_KEY)]
    if not keys:
        raise FileUnusable(f"{source} holds no private key, but {_labels(found)}")
    if len(keys) > 1:
        raise FileUnusable(f"{source} holds {len(keys)} private keys: which one is meant cannot be told")
    if keys[0].label == _OPENSSH:
        raise FileUnusable(f"{source} is in OpenSSH's own form: convert it with `ssh-keygen -p -m PKCS8 -f …`")
    return keys[0]


def _labels(found: list[Block]) -> str:
    names = dict.fromkeys(block.label for block in found)
    return " and ".join(f"a {name}" for name in list(names)[:3])
