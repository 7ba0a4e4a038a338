"""What the edge knows of a client certificate: read once per connection, from then on only compared."""

import base64
import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from interlock_common.messages.certs import revoked_key
from interlock_gateway.certificates.errors import CertificateUnreadable
from interlock_gateway.certificates.unreadable import UNREADABLE

PEER = "interlock.peer"
"""Where the scope of a request keeps the ``PeerCertificate`` of its connection, or None."""
MAX_DER_BYTES = 16 * 1024
_MAX_NAMES = 64


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A client certificate whose chain has been verified, by the handshake or by a proxy that is trusted.

    ``fingerprint`` is ``sha256:<hex>`` and ``thumbprint`` the same in base64url without padding (``x5t#S256``,
    RFC 8705), both of ``der``. ``serial`` and ``authority_key_id`` are hex in lower case, ``subject`` and ``issuer``
    are names after RFC 4514, ``not_before`` and ``not_after`` are Unix times. ``chain`` are the certificates above it,
    as DER, where they are known.
    """

    der: bytes = field(repr=False)
    fingerprint: str
    thumbprint: str
    subject: str
    common_name: str | None
    organization: str | None
    emails: tuple[str, ...]
    dns_names: tuple[str, ...]
    uris: tuple[str, ...]
    serial: str
    issuer: str
    authority_key_id: str | None
    not_before: int
    not_after: int
    chain: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, der: bytes, chain: tuple[bytes, ...] = ()) -> "PeerCertificate":
        """Read a certificate; raises CertificateUnreadable, whatever ``der`` is."""
        if len(der) > MAX_DER_BYTES:
            raise CertificateUnreadable(f"the client certificate is over {MAX_DER_BYTES} bytes")
        try:
            return _read(der, x509.load_der_x509_certificate(der), chain)
        except UNREADABLE:
            raise CertificateUnreadable("the client certificate cannot be read") from None

    @property
    def key(self) -> str:
        """Under which its revocation is published: the key id of its issuer and its serial number."""
        return revoked_key(self.authority_key_id or "unknown", self.serial)

    @property
    def limited_as(self) -> str:
        """The name under which its requests are counted."""
        return self.common_name or self.fingerprint


def _read(der: bytes, certificate: x509.Certificate, chain: tuple[bytes, ...]) -> PeerCertificate:
    digest = hashlib.sha256(der).digest()
    emails, dns_names, uris = _alternative_names(certificate)
    return PeerCertificate(
        der=der,
        fingerprint=f"sha256:{digest.hex()}",
        thumbprint=base64.urlsafe_b64encode(digest).decode().rstrip("="),
        subject=certificate.subject.rfc4514_string(),
        common_name=_only(certificate.subject, NameOID.COMMON_NAME),
        organization=_only(certificate.subject, NameOID.ORGANIZATION_NAME),
        emails=emails,
        dns_names=dns_names,
        uris=uris,
        serial=f"{certificate.serial_number:x}",
        issuer=certificate.issuer.rfc4514_string(),
        authority_key_id=_authority_key_id(certificate),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
        chain=chain,
    )


def _only(name: x509.Name, oid: x509.ObjectIdentifier) -> str | None:
    """The attribute, where it is there once: of two names nobody could say which is meant."""
    values = name.get_attributes_for_oid(oid)
    if len(values) != 1:
        return None
    value = values[0].value
    return value if isinstance(value, str) and value else None


def _alternative_names(
    certificate: x509.Certificate,
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), (), ()
    if len(list(names)) > _MAX_NAMES:
        raise ValueError("too many alternative names")
    return (
        tuple(names.get_values_for_type(x509.RFC822Name)),
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def _authority_key_id(certificate: x509.Certificate) -> str | None:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    except x509.ExtensionNotFound:
        return None
    value = extension.value
    if not isinstance(value, x509.AuthorityKeyIdentifier) or value.key_identifier is None:
        return None
    return value.key_identifier.hex()
