"""An issuing CA with its key and what stands between it and the root, and the checks that these belong together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from interlock_certs.ca_keys import CaKey, digest_for, read
from interlock_certs.errors import AuthorityUnusable, ChainBroken, ChainExpired, KeyMismatch

_MAX_BETWEEN = 8
_UNREADABLE = (
    ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)  # fmt: skip


class Signable[T](Protocol):
    """A builder of a certificate, a CRL or an OCSP answer."""

    def sign(self, private_key: Any, algorithm: Any, /) -> T: ...


@dataclass(frozen=True)
class Issuer:
    """Who signs leaves, CRLs and OCSP answers; ``between`` are the CAs from it up to the root, without the root."""

    key: CaKey = field(repr=False)
    certificate: x509.Certificate
    between: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self.between)

    @property
    def key_id(self) -> str:
        """The key identifier that leaves name as their authority's, in hex."""
        return key_identifier(self.certificate).hex()

    @property
    def digest(self) -> hashes.SHA256 | hashes.SHA384:
        return digest_for(self.key.public_key())

    @property
    def not_after(self) -> datetime:
        """When the first of the chain ends; nothing it signs can count longer."""
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    def sign[T](self, builder: Signable[T]) -> T:
        return builder.sign(self.key, self.digest)


def key_identifier(certificate: x509.Certificate) -> bytes:
    """The subject key identifier of a CA, by which it is told from others of its name."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one."""
    return parse_certificates(read(path), path)


def parse_certificates(pem: bytes, source: object) -> list[x509.Certificate]:
    """The certificates of ``pem``; ``source`` names in an error where they came from."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except _UNREADABLE:
        raise AuthorityUnusable(f"{source} holds no PEM certificate") from None
    for certificate in found:
        try:
            _read_through(certificate)
        except _UNREADABLE:
            raise AuthorityUnusable(f"{source} holds a certificate that cannot be read") from None
    return found


def _read_through(certificate: x509.Certificate) -> None:
    """A certificate is parsed as it is looked at: what is wrong inside shows here, and not later."""
    _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.public_key())
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def is_pair(key: CaKey, certificate: x509.Certificate) -> bool:
    return key.public_key() == certificate.public_key()


def joined(
    key: CaKey, key_source: object, found: Sequence[x509.Certificate], root: x509.Certificate, source: object
) -> Issuer:
    """The issuer that ``key`` and the certificates ``found`` make below ``root``, in whatever order they came.

    Raises KeyMismatch or ChainBroken with the files that do not belong together.
    """
    issuing = next((certificate for certificate in found if is_pair(key, certificate)), None)
    if issuing is None:
        raise KeyMismatch(f"{key_source} is not the key of a certificate in {source}: bring the two that are a pair")
    between: list[x509.Certificate] = []
    last = issuing
    while last.issuer != root.subject or not _is_issued(last, root):
        above = next((one for one in found if one.subject == last.issuer and _is_issued(last, one)), None)
        if above is None or above in between or above == issuing or len(between) >= _MAX_BETWEEN:
            raise ChainBroken(
                f"{name_of(last)} in {source} is not issued by the root {name_of(root)}, nor by a certificate beside it"
            )
        between.append(above)
        last = above
    return Issuer(key, issuing, tuple(between))


def check(issuer: Issuer, root: x509.Certificate, moment: datetime, source: object) -> None:
    """Raise ChainBroken or ChainExpired unless ``issuer`` may sign leaves at ``moment``."""
    for below, certificate in enumerate((*issuer.chain, root)):
        _check_ca(certificate, below, source)
        check_dates(certificate, moment, source)


def check_dates(certificate: x509.Certificate, moment: datetime, source: object) -> None:
    """Raise ChainExpired unless a CA certificate counts at ``moment``."""
    if moment >= certificate.not_valid_after_utc:
        raise ChainExpired(f"{name_of(certificate)} in {source} expired at {certificate.not_valid_after_utc:%FT%TZ}: "
                           "put the renewed chain there")  # fmt: skip
    if moment < certificate.not_valid_before_utc:
        raise ChainExpired(f"{name_of(certificate)} in {source} counts from {certificate.not_valid_before_utc:%FT%TZ} "
                           "on: look at the clock of this machine")  # fmt: skip


def name_of(certificate: x509.Certificate) -> str:
    return f"'{certificate.subject.rfc4514_string()}'"


def _check_ca(certificate: x509.Certificate, below: int, source: object) -> None:
    """What services, which verify as strictly as RFC 5280 allows, demand of a CA."""
    here = f"{name_of(certificate)} in {source}"
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise ChainBroken(f"{here} is no CA certificate (basicConstraints)")
    if constraints.path_length is not None and constraints.path_length < below:
        raise ChainBroken(f"{here} allows {constraints.path_length} CAs below it (pathLen)")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise ChainBroken(f"{here} does not say that it may sign certificates (keyUsage with keyCertSign)")
    if _extension(certificate, x509.SubjectKeyIdentifier) is None:
        raise ChainBroken(f"{here} has no subjectKeyIdentifier")
    if certificate.subject != certificate.issuer and _extension(certificate, x509.AuthorityKeyIdentifier) is None:
        raise ChainBroken(f"{here} has no authorityKeyIdentifier")


def _extension[E: x509.ExtensionType](certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
