"""Certificate revocation lists (RFC 5280, section 5) of the CAs behind client certificates, held in memory.

A list counts when a CA that is known has signed it, it is complete (no delta, not limited to a part), and it is not
older than the one before. Where a list must be there (``CLIENT_CRL_HARD_FAIL``), certificates of a CA without a
current one are refused.
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtensionOID

from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError
from interlock_gateway.certificates.errors import CertificateRevoked, CertificateStatusUnknown
from interlock_gateway.certificates.issuers import Issuers
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.unreadable import UNREADABLE

MAX_BYTES = 32 * 1024 * 1024
_PEM = b"-----BEGIN"
_UNDERSTOOD = frozenset({
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER, ExtensionOID.ISSUING_DISTRIBUTION_POINT,
})  # fmt: skip
_SIGNING = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey,
            dsa.DSAPublicKey)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Crl:
    """What a list says; times are in seconds since the epoch, ``key_id`` is that of its signer."""

    issuer: str
    key_id: str
    number: int
    made: float
    ends: float
    revoked: frozenset[int]


def read_crl(content: bytes, issuers: Issuers, source: str) -> Crl:
    """A list in PEM or DER; raises ConfigurationError for what must not be believed."""
    try:
        load = x509.load_pem_x509_crl if content.lstrip().startswith(_PEM) else x509.load_der_x509_crl
        found = load(content)
        return _read(found, issuers, source)
    except UNREADABLE:
        raise ConfigurationError(f"the CRL {source} cannot be read") from None


def _read(found: x509.CertificateRevocationList, issuers: Issuers, source: str) -> Crl:
    name = found.issuer.rfc4514_string()
    signer = next((each for each in issuers.named(name) if _signed(found, each)), None)
    if signer is None:
        raise ConfigurationError(f"the CRL {source} is not signed by a CA of clients that is known here")
    ends = found.next_update_utc
    if ends is None:
        raise ConfigurationError(f"the CRL {source} does not say when the next one comes")
    number = 0
    for extension in found.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise ConfigurationError(f"the CRL {source} has a critical extension that is not understood")
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            _check_complete(extension.value, source)
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
    return Crl(
        name, _key_id(signer), number, found.last_update_utc.timestamp(), ends.timestamp(),
        frozenset(entry.serial_number for entry in found),
    )  # fmt: skip


def _signed(found: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.crl_sign:
            return False
    except x509.ExtensionNotFound:
        pass
    return isinstance(key, _SIGNING) and found.is_signature_valid(key)


def _check_complete(point: x509.IssuingDistributionPoint, source: str) -> None:
    partly = point.only_contains_ca_certs or point.only_contains_attribute_certs or point.indirect_crl
    if partly or point.only_some_reasons is not None:
        raise ConfigurationError(f"the CRL {source} is of a part of the certificates only")


def _key_id(signer: x509.Certificate) -> str:
    try:
        return signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    except x509.ExtensionNotFound:
        return ""


class Crls:
    """The lists of the moment, one per CA."""

    def __init__(self, clock: Clock, *, hard_fail: bool = True) -> None:
        self._clock = clock
        self._hard_fail = hard_fail
        self._held: dict[tuple[str, str], Crl] = {}

    def take(self, crl: Crl) -> bool:
        """Hold a list, unless it is older than the one that is held; whether it was taken."""
        before = self._held.get((crl.issuer, crl.key_id))
        if before is not None and (crl.number, crl.made) < (before.number, before.made):
            return False
        self._held[crl.issuer, crl.key_id] = crl
        return True

    def check(self, peer: PeerCertificate) -> None:
        """Raise CertificateRevoked, or CertificateStatusUnknown where no current list says that it is not."""
        crl = self._of(peer)
        if crl is not None and int(peer.serial, 16) in crl.revoked:
            raise CertificateRevoked("the client certificate has been revoked by its CA")
        if self._hard_fail and (crl is None or crl.ends <= self._clock.time()):
            raise CertificateStatusUnknown("there is no current CRL of the CA that issued the client certificate")

    def _of(self, peer: PeerCertificate) -> Crl | None:
        if peer.authority_key_id is not None:
            return self._held.get((peer.issuer, peer.authority_key_id)) or self._held.get((peer.issuer, ""))
        return next((crl for (name, _), crl in self._held.items() if name == peer.issuer), None)

    def next_end(self) -> float | None:
        """When the first of the lists ends."""
        return min((crl.ends for crl in self._held.values()), default=None)
