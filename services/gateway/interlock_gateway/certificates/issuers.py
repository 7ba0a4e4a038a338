"""The CAs behind client certificates: who may sign a CRL, or answer for a certificate."""

from pathlib import Path

from cryptography import x509

from interlock_common.errors import ConfigurationError
from interlock_gateway.certificates.errors import CertificateRefused
from interlock_gateway.certificates.following import read_bounded
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.unreadable import UNREADABLE

_MAX_BYTES = 4 * 1024 * 1024
_REMEMBERED = 10_000


def read_issuers(setting: str, path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM bundle; raises ConfigurationError."""
    try:
        found = x509.load_pem_x509_certificates(read_bounded(path, setting, _MAX_BYTES))
    except UNREADABLE:
        raise ConfigurationError(f"{setting} {path} holds no readable PEM certificate") from None
    return tuple(found)


class Issuers:
    """The CAs of the moment, by their names; one that signed a certificate is known again without its signature."""

    def __init__(self, found: tuple[x509.Certificate, ...] = ()) -> None:
        self.take(found)

    def take(self, found: tuple[x509.Certificate, ...]) -> None:
        """From now on these are the CAs."""
        self._by_name: dict[str, list[x509.Certificate]] = {}
        for certificate in found:
            self._by_name.setdefault(certificate.subject.rfc4514_string(), []).append(certificate)
        self._of: dict[str, x509.Certificate] = {}

    @property
    def known(self) -> bool:
        """Whether there is any."""
        return bool(self._by_name)

    def named(self, name: str) -> tuple[x509.Certificate, ...]:
        return tuple(self._by_name.get(name, ()))

    def of(self, peer: PeerCertificate) -> x509.Certificate | None:
        """The CA that issued a certificate: of those that are known, or of the chain that was verified with it."""
        known = self._of.get(peer.fingerprint)
        if known is None:
            known = self._find(peer)
            if known is not None:
                if len(self._of) >= _REMEMBERED:
                    self._of.clear()
                self._of[peer.fingerprint] = known
        return known

    def check(self, peer: PeerCertificate) -> None:
        """Raise CertificateRefused for one that none of these CAs has issued; without any CA, nothing is checked."""
        if self._by_name and self.of(peer) is None:
            raise CertificateRefused("the client certificate is not issued by any of the CAs in CLIENT_CA_CERTS")

    def _find(self, peer: PeerCertificate) -> x509.Certificate | None:
        certificate = x509.load_der_x509_certificate(peer.der)
        above = [x509.load_der_x509_certificate(der) for der in peer.chain[:1]]
        for issuer in (*self.named(peer.issuer), *above):
            try:
                certificate.verify_directly_issued_by(issuer)
            except UNREADABLE:
                continue
            return issuer
        return None
