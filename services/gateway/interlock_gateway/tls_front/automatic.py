"""The certificate that an edge makes for itself when TLS is on and none was brought: self-signed, renewed in time.

Several edges on a machine may share the folder: one makes it, the others find it.
"""

import fcntl
import ipaddress
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError
from interlock_common.tls import write_atomically

_log = structlog.get_logger()
type KeyKind = Literal["rsa-4096", "rsa-3072", "p256", "p384"]

NAMES = ("localhost", "gateway", "nginx", "127.0.0.1", "::1")
LIFETIME = timedelta(days=365)
_RENEWED_BEFORE = LIFETIME / 3
_BACKDATED = timedelta(minutes=5)
_PRIVATE = 0o700
_HOST = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Automatic:
    """Where the certificate is kept, which names it has besides ``NAMES``, and of which kind its key is."""

    directory: Path
    more_names: tuple[str, ...]
    kind: KeyKind
    clock: Clock

    @property
    def cert(self) -> Path:
        return self.directory / "cert.pem"

    @property
    def key(self) -> Path:
        return self.directory / "key.pem"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*NAMES, *self.more_names)))

    def ensure(self) -> None:
        """Have one on the disk that has all names and lives for a while yet; raises ConfigurationError."""
        with self._alone():
            if not self._serves():
                self._make()

    def _serves(self) -> bool:
        try:
            leaf = x509.load_pem_x509_certificate(self.cert.read_bytes())
            self.key.read_bytes()
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (OSError, ValueError, x509.ExtensionNotFound):
            return False
        left = leaf.not_valid_after_utc - self.clock.now()
        return left > _RENEWED_BEFORE and set(_general_names(self.names)) <= set(names)

    def _make(self) -> None:
        names = _general_names(self.names)
        key = _new_key(self.kind)
        now = self.clock.now()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.names[0])])
        key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(key_id, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        write_atomically(
            self.key,
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            private=True,
        )
        write_atomically(self.cert, certificate.public_bytes(pem), private=False)
        _log.warning(
            "a self-signed certificate was made for TLS; clients have to be told to trust it",
            file=str(self.cert), names=list(self.names), key=self.kind,
            not_after=certificate.not_valid_after_utc.isoformat(),
        )  # fmt: skip

    @contextmanager
    def _alone(self) -> Generator[None]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
            lock = (self.directory / ".lock").open("wb")
        except OSError as error:
            raise ConfigurationError(
                f"SSL is on without CERT_FILE, and no certificate can be kept in AUTO_CERT_DIR {self.directory}: "
                f"{error.strerror}"
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


_SIGNS = x509.KeyUsage(
    digital_signature=True, key_encipherment=False, content_commitment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


def listed_names(setting: str) -> tuple[str, ...]:
    """The host names and addresses of ``AUTO_CERT_SANS``; raises ConfigurationError."""
    names = tuple(name.strip() for name in setting.split(",") if name.strip())
    _general_names(names)
    return names


def _general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        host = name.encode("idna").decode("ascii")
    except UnicodeError:
        host = ""
    if _HOST.fullmatch(host) is None:
        raise ConfigurationError(f"AUTO_CERT_SANS has {name!r}, which is no host name or address")
    return x509.DNSName(host)


def _new_key(kind: KeyKind) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    match kind:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa-3072":
            return rsa.generate_private_key(65537, 3072)
        case "rsa-4096":
            return rsa.generate_private_key(65537, 4096)
