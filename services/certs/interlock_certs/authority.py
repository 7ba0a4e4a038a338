"""The certificate authority: a root, an issuing CA below it, and the leaves it signs. Only this module has CA keys.

Profiles follow RFC 5280. A leaf takes nothing from its request but the public key: what it is called is decided
here, since the bus maps the names of a leaf to the permissions of a service.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from interlock_common.clock import Clock
from interlock_common.messages.access import spiffe_id
from interlock_common.tls import write_atomically

from interlock_certs.errors import AuthorityUnusable, RequestRejected

_BACKDATED = timedelta(minutes=1)
_MIN_RSA_BITS = 3072
_ROOT, _ISSUING = "root", "issuing"


@dataclass(frozen=True)
class Leaf:
    """An issued certificate and what is needed to present it."""

    identity: str
    certificate: x509.Certificate
    chain_pem: bytes

    @property
    def fingerprint(self) -> str:
        return "sha256:" + self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def serial(self) -> str:
        return f"{self.certificate.serial_number:x}"

    @property
    def not_before(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc


@dataclass(frozen=True)
class Lifetimes:
    root: timedelta
    issuing: timedelta


class Authority:
    """Root and issuing CA of one trust domain, kept as PEM files (keys with mode 600) in one folder."""

    def __init__(
        self,
        trust_domain: str,
        clock: Clock,
        root: x509.Certificate,
        issuing: x509.Certificate,
        issuing_key: ec.EllipticCurvePrivateKey,
    ) -> None:
        self._trust_domain = trust_domain
        self._clock = clock
        self._root = root
        self._issuing = issuing
        self._key = issuing_key

    @classmethod
    def open(cls, directory: Path, trust_domain: str, lifetimes: Lifetimes, clock: Clock) -> "Authority":
        """The authority in ``directory``, created there when the folder has none.

        Raises AuthorityUnusable when some of its files are missing or do not belong together: a CA is never
        quietly replaced.
        """
        files = [directory / f"{name}.{kind}" for name in (_ROOT, _ISSUING) for kind in ("crt", "key")]
        missing = [file.name for file in files if not file.exists()]
        if len(missing) == len(files):
            _create(directory, trust_domain, lifetimes, clock)
        elif missing:
            raise AuthorityUnusable(f"CA_DIR {directory} lacks {', '.join(missing)}: restore it from its backup")
        try:
            return cls(trust_domain, clock, *_load(directory))
        except (ValueError, OSError) as error:
            raise AuthorityUnusable(f"CA_DIR {directory} cannot be read: {error}") from None

    @property
    def bundle_pem(self) -> bytes:
        """The roots that count in this deployment."""
        return self._root.public_bytes(Encoding.PEM)

    @property
    def certificates(self) -> list[x509.Certificate]:
        """Issuing CA and root, for EST ``cacerts``."""
        return [self._issuing, self._root]

    def issue(self, identity: str, csr_der: bytes, lifetime: timedelta, names: Sequence[str] = ()) -> Leaf:
        """A leaf for the key of a request (RFC 2986, DER), called ``identity`` and, for listeners, ``names``.

        Raises RequestRejected that says which rule the request breaks.
        """
        key = _requested_key(csr_der)
        now = self._clock.now()
        # A leaf of a few seconds is for tests of rotation: it must not be half over when it is born.
        begin = max(now - min(_BACKDATED, lifetime / 10), self._issuing.not_valid_before_utc)
        end = min(now + lifetime, self._issuing.not_valid_after_utc)
        sans = [x509.UniformResourceIdentifier(spiffe_id(self._trust_domain, identity)), *map(_san, names)]
        certificate = (
            _builder(x509.Name([]), self._issuing.subject, key, begin, end)
            .add_extension(x509.SubjectAlternativeName(sans), critical=True)  # critical, as the subject is empty
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        chain = certificate.public_bytes(Encoding.PEM) + self._issuing.public_bytes(Encoding.PEM)
        return Leaf(identity, certificate, chain)


def _requested_key(csr_der: bytes) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    try:
        request = x509.load_der_x509_csr(csr_der)
        if not request.is_signature_valid:
            raise RequestRejected("the request is not signed by the key it names")
        key = request.public_key()
    except (ValueError, TypeError, x509.InvalidVersion):
        raise RequestRejected("this is no PKCS#10 request") from None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _MIN_RSA_BITS:
        return key
    raise RequestRejected(f"the key must be P-256, P-384 or RSA of at least {_MIN_RSA_BITS} bits")


def _create(directory: Path, trust_domain: str, lifetimes: Lifetimes, clock: Clock) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    begin = clock.now() - _BACKDATED
    root_key, issuing_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, issuing_name = _name(trust_domain, "Root CA"), _name(trust_domain, "Issuing CA")
    root = _ca(root_name, root_name, root_key.public_key(), begin, clock.now() + lifetimes.root, 1).sign(
        root_key, hashes.SHA256()
    )
    issuing = (
        _ca(issuing_name, root_name, issuing_key.public_key(), begin, clock.now() + lifetimes.issuing, 0)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    for name, key, certificate in ((_ROOT, root_key, root), (_ISSUING, issuing_key, issuing)):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(directory / f"{name}.key", pem, private=True)
        write_atomically(directory / f"{name}.crt", certificate.public_bytes(Encoding.PEM), private=False)


def _load(directory: Path) -> tuple[x509.Certificate, x509.Certificate, ec.EllipticCurvePrivateKey]:
    root = x509.load_pem_x509_certificate((directory / f"{_ROOT}.crt").read_bytes())
    issuing = x509.load_pem_x509_certificate((directory / f"{_ISSUING}.crt").read_bytes())
    key = load_pem_private_key((directory / f"{_ISSUING}.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != issuing.public_key():
        raise ValueError(f"{_ISSUING}.key does not belong to {_ISSUING}.crt")
    issuing.verify_directly_issued_by(root)
    return root, issuing, key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime,
    end: datetime,
    path_length: int,
) -> x509.CertificateBuilder:
    return (
        _builder(subject, issuer, key, begin, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(ca=True), critical=True)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(trust_domain: str, role: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain),
        x509.NameAttribute(NameOID.COMMON_NAME, f"Interlock {role}"),
    ])  # fmt: skip


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
