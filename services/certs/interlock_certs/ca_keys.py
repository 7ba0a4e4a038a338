"""The keys of the CA: made by the algorithm that is set, kept in a file or in a PKCS#11 token, never shown.

A key file holds a PKCS#8 key, encrypted where there is a passphrase, or, for a key in a token, the address of it
(a PKCS#11 URI, RFC 7512).
"""

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from interlock_certs.errors import AuthorityUnusable, KeyFileOpen, WrongPassphrase
from interlock_certs.requests import is_strong, key_rule
from interlock_certs.sealed_keys import sealed
from interlock_common.tls import write_atomically

_log = structlog.get_logger()
_TOO_OPEN = stat.S_IWGRP | stat.S_IRWXO
_URI_SCHEME = b"pkcs11:"
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")

type Algorithm = Literal["p256", "p384", "rsa3072", "rsa4096"]
type CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
type CaPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class Token(Protocol):
    """A PKCS#11 token; ``hsm.py`` has the real one."""

    def create(self, algorithm: Algorithm) -> str:
        """Make a key that cannot leave the token; answers its URI."""
        ...

    def key(self, uri: str) -> CaKey: ...


@dataclass(frozen=True)
class KeyCare:
    """How keys are made and kept: ``passphrase`` encrypts key files, ``token`` keeps keys instead of files."""

    algorithm: Algorithm = "p256"
    passphrase: bytes | None = field(default=None, repr=False)
    token: Token | None = None

    def create(self, path: Path) -> CaKey:
        """A new key, kept at ``path``."""
        if self.token is not None:
            uri = self.token.create(self.algorithm)
            write_atomically(path, f"{uri}\n".encode(), private=True)
            return self.token.key(uri)
        key = generate(self.algorithm)
        self._keep(path, key)
        return key

    def load(self, path: Path) -> CaKey:
        """The key at ``path``; raises AuthorityUnusable, KeyFileOpen or WrongPassphrase, which say what to do."""
        content = read(path)
        refuse_open(path)
        if content.lstrip().startswith(_URI_SCHEME):
            return self._key_in_token(path, content)
        key = self._decrypted(path, content)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) or not is_strong(key.public_key()):
            raise AuthorityUnusable(f"{path}: {key_rule()}")
        return key

    def seal(self, path: Path) -> None:
        """Encrypt a key file of ours that is not yet, where there is a passphrase now."""
        content = read(path)
        if self.passphrase is None or content.lstrip().startswith(_URI_SCHEME) or _is_encrypted(content):
            return
        self._keep(path, self.load(path))
        _log.info("key encrypted with CA_KEY_PASSPHRASE", file=str(path))

    def _keep(self, path: Path, key: CaKey) -> None:
        def encoded(encoding: Encoding) -> bytes:
            return key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())

        content = encoded(Encoding.PEM) if self.passphrase is None else sealed(encoded(Encoding.DER), self.passphrase)
        write_atomically(path, content, private=True)

    def _key_in_token(self, path: Path, content: bytes) -> CaKey:
        if self.token is None:
            raise AuthorityUnusable(f"{path} says that the key is in a PKCS#11 token: set PKCS11_MODULE")
        return self.token.key(content.decode("utf-8", "replace").strip())

    def _decrypted(self, path: Path, content: bytes) -> object:
        encrypted = _is_encrypted(content)
        if encrypted and self.passphrase is None:
            raise WrongPassphrase(f"{path} is encrypted: set CA_KEY_PASSPHRASE, or CA_KEY_PASSPHRASE_FILE")
        try:
            return load_pem_private_key(content, self.passphrase if encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            if encrypted:
                raise WrongPassphrase(f"CA_KEY_PASSPHRASE does not open {path}: it is another one's") from None
            raise AuthorityUnusable(f"{path} holds no PEM private key") from None


def generate(algorithm: Algorithm) -> CaKey:
    """A new key in the memory of this process."""
    match algorithm:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa3072":
            return rsa.generate_private_key(65537, 3072)
        case "rsa4096":
            return rsa.generate_private_key(65537, 4096)


def digest_for(key: CaPublicKey) -> hashes.SHA256 | hashes.SHA384:
    """The digest of signatures with ``key``: as strong as the key is."""
    strong = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size >= 384  # noqa: PLR2004
    return hashes.SHA384() if strong else hashes.SHA256()


def refuse_open(path: Path) -> None:
    """Raise KeyFileOpen for a file that users other than its owner and its group may read, or its group write."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _TOO_OPEN:
        raise KeyFileOpen(
            f"{path} has mode {mode:o}, so others may read or change it: chmod 600 {path}, and for a Kubernetes Secret "
            "set defaultMode: 0400"
        )


def read(path: Path) -> bytes:
    """The content of a file of the CA."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuthorityUnusable(f"{path} cannot be read: {error.strerror}; restore it from its backup") from None


def _is_encrypted(content: bytes) -> bool:
    return any(mark in content for mark in _ENCRYPTED)
