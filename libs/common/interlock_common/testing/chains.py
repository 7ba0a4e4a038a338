"""Chains of certificate authorities as enterprises have them, and the leaves that they issue, for tests."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock_common.clock import SYSTEM_CLOCK

HOSTS = ("localhost", "127.0.0.1")
FOR_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_DAY = timedelta(days=1)
_PEM = serialization.Encoding.PEM

type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A leaf with its chain, leaf first and without the root, and its private key; all PEM."""

    chain: bytes
    key: bytes

    def write(self, directory: Path, name: str = "") -> tuple[Path, Path]:
        """The paths of the chain and the key: ``cert.pem`` and ``key.pem``, or those with ``name`` before them."""
        before = f"{name}-" if name else ""
        cert, key = directory / f"{before}cert.pem", directory / f"{before}key.pem"
        cert.write_bytes(self.chain)
        key.write_bytes(self.key)
        return cert, key

    def encrypted(self, password: str) -> bytes:
        """The key under a passphrase."""
        key = serialization.load_pem_private_key(self.key, None)
        protection = serialization.BestAvailableEncryption(password.encode())
        return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, protection)

    @property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain)


@dataclass(frozen=True, slots=True)
class ChainAuthority:
    """A root, or a CA below one."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str = "root", *, lifetime: timedelta = 30 * _DAY) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(_authority(name, key, _name(name), key, lifetime), key)

    def below(self, name: str) -> "ChainAuthority":
        """A CA whose certificate this one has issued."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _authority(name, key, self.certificate.subject, self.key, 30 * _DAY)
        return ChainAuthority(made, key, (self.certificate, *self.above))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(_PEM)

    def issue(
        self,
        name: str = "leaf",
        *,
        hosts: Sequence[str] = HOSTS,
        begins: datetime | None = None,
        lifetime: timedelta = _DAY,
        uses: Sequence[x509.ObjectIdentifier] = FOR_BOTH,
        key: Key | None = None,
    ) -> Pair:
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, key, self.certificate.subject, begins, lifetime)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        leaf = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        shown = [leaf, *((self.certificate, *self.above)[:-1])]
        chain = b"".join(certificate.public_bytes(_PEM) for certificate in shown)
        return Pair(chain, key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _authority(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, by: ec.EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    return (
        _builder(name, key, issuer, None, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .sign(by, hashes.SHA256())
    )


def _builder(
    name: str, key: Key, issuer: x509.Name, begins: datetime | None, lifetime: timedelta
) -> x509.CertificateBuilder:
    begin = begins or SYSTEM_CLOCK.now() - timedelta(minutes=1)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
