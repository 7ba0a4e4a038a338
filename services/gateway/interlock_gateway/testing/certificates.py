"""A client CA for tests, and whatever certificates it is asked for."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock_common.clock import SYSTEM_CLOCK
from interlock_gateway.certificates.peer import PeerCertificate


def name_of(common_name: str | None = None, organization: str | None = None) -> x509.Name:
    said = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in said if value is not None])


@dataclass
class ClientCa:
    """Issues certificates; its key is at hand for CRLs and OCSP answers."""

    name: str = "Test Client CA"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    above: "ClientCa | None" = None

    def __post_init__(self) -> None:
        now = SYSTEM_CLOCK.now()
        subject = name_of(self.name)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if self.above is None else self.above.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key if self.above is None else self.above.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self, common_name: str | None = "ada", *, organization: str | None = None, emails: tuple[str, ...] = (),
        dns_names: tuple[str, ...] = (), uris: tuple[str, ...] = (), begins: datetime | None = None,
        lifetime: timedelta = timedelta(days=90), usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        key: ec.EllipticCurvePrivateKey | None = None, extensions: tuple[x509.ExtensionType, ...] = (),
    ) -> x509.Certificate:  # fmt: skip
        """A certificate with these names."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        begins = begins or SYSTEM_CLOCK.now() - timedelta(hours=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name_of(common_name, organization))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + lifetime)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )  # fmt: skip
        names: list[x509.GeneralName] = [
            *map(x509.RFC822Name, emails),
            *map(x509.DNSName, dns_names),
            *map(x509.UniformResourceIdentifier, uris),
        ]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def crl(
        self, *revoked: x509.Certificate, number: int = 1, made: datetime | None = None,
        lifetime: timedelta = timedelta(days=1), extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    ) -> bytes:  # fmt: skip
        """A list in PEM, of these certificates."""
        made = made or SYSTEM_CLOCK.now() - timedelta(minutes=1)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(made)
            .next_update(made + lifetime)
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(made)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def peer(self, common_name: str | None = "ada", **names: Any) -> PeerCertificate:
        """A certificate as the edge knows it after the handshake."""
        return peer_of(self.issue(common_name, **names))


def peer_of(certificate: x509.Certificate) -> PeerCertificate:
    return PeerCertificate.of(certificate.public_bytes(Encoding.DER))
