"""What the files of the front end hold, checked before anything is served with it; each error says which file and why.

UnusableFrontEnd    a startup error; later a warning, and what was served before goes on
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from interlock_common.errors import ConfigurationError

_MAX_BYTES = 1024 * 1024
_LEAST_RSA_BITS = 2048
_DER = serialization.Encoding.DER
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


class UnusableFrontEnd(ConfigurationError):
    """A file that TLS at the edge was to use, and cannot."""

    code = "unusable_front_end"


@dataclass(frozen=True, slots=True)
class Named:
    """A file, and the setting that names it."""

    setting: str
    path: Path

    def read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except OSError as error:
            raise UnusableFrontEnd(f"{self} cannot be read: {error.strerror}") from None
        if len(content) > _MAX_BYTES:
            raise UnusableFrontEnd(f"{self} is over {_MAX_BYTES} bytes")
        return content

    def __str__(self) -> str:
        return f"{self.setting} {self.path}"


def check_pair(cert: Named, chain_pem: bytes, key: Named, key_pem: bytes, password: str | None) -> x509.Certificate:
    """The leaf of a chain whose private key is ``key_pem``; raises UnusableFrontEnd."""
    chain = _certificates(cert, chain_pem)
    private = _private_key(key, key_pem, password)
    public = private.public_key().public_bytes(_DER, _SPKI)
    if chain[0].public_key().public_bytes(_DER, _SPKI) != public:
        if any(other.public_key().public_bytes(_DER, _SPKI) == public for other in chain[1:]):
            raise UnusableFrontEnd(
                f"{cert} has its certificates in the wrong order: the one of {key} has to come first"
            )
        raise UnusableFrontEnd(f"{key} is not the private key of the certificate in {cert} ({_name(chain[0])})")
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < _LEAST_RSA_BITS:
        raise UnusableFrontEnd(f"{key} is an RSA key of {private.key_size} bits, at least {_LEAST_RSA_BITS} are needed")
    _check_links(cert, chain)
    _check_use(cert, chain[0])
    return chain[0]


def check_moment(cert: Named, chain_pem: bytes, moment: datetime) -> None:
    """Refuse a chain of which any certificate does not count at ``moment``."""
    for number, certificate in enumerate(_certificates(cert, chain_pem)):
        which = "the certificate" if number == 0 else f"the chain: certificate {number + 1}, {_name(certificate)},"
        if certificate.not_valid_after_utc <= moment:
            raise UnusableFrontEnd(f"{cert}: {which} expired at {_utc(certificate.not_valid_after_utc)}")
        if certificate.not_valid_before_utc > moment:
            raise UnusableFrontEnd(f"{cert}: {which} counts only from {_utc(certificate.not_valid_before_utc)}")


def check_authorities(authorities: Named, pem: bytes, moment: datetime) -> list[x509.Certificate]:
    """The CA certificates that client certificates are verified by; raises UnusableFrontEnd."""
    found = _certificates(authorities, pem)
    for certificate in found:
        if not _is_authority(certificate):
            raise UnusableFrontEnd(f"{authorities} holds {_name(certificate)}, which is no CA certificate")
    if all(certificate.not_valid_after_utc <= moment for certificate in found):
        last = max(certificate.not_valid_after_utc for certificate in found)
        raise UnusableFrontEnd(f"{authorities}: every CA certificate in it has expired, the last at {_utc(last)}")
    return found


def doubts(cert: Named, chain_pem: bytes) -> list[str]:
    """What will do for some clients and not for others: nothing to stop for, but to be said."""
    chain = _certificates(cert, chain_pem)
    leaf, last = chain[0], chain[-1]
    said: list[str] = []
    if not _extension(leaf, x509.SubjectAlternativeName):
        said.append(f"{cert} names no host (subjectAltName): clients will refuse it")
    if last.issuer != last.subject and len(chain) == 1:
        said.append(
            f"the chain in {cert} may be incomplete: its issuer {last.issuer.rfc4514_string()} is not in the file, "
            "which is right only if clients trust that very one"
        )
    return said


def _certificates(file: Named, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise UnusableFrontEnd(f"{file} holds no PEM certificates") from None


def _private_key(file: Named, pem: bytes, password: str | None) -> PrivateKeyTypes:
    encrypted = False
    try:
        return serialization.load_pem_private_key(pem, None)
    except TypeError:
        encrypted = True
    except (ValueError, UnsupportedAlgorithm):
        pass
    if not encrypted:
        raise UnusableFrontEnd(f"{file} holds no PEM private key")
    if password is None:
        raise UnusableFrontEnd(f"{file} is encrypted, and KEY_FILE_PASSWORD is not set")
    try:
        return serialization.load_pem_private_key(pem, password.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableFrontEnd(f"KEY_FILE_PASSWORD is not the passphrase of {file}") from None


def _check_links(cert: Named, chain: Sequence[x509.Certificate]) -> None:
    for number, (lower, upper) in enumerate(pairwise(chain), 1):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise UnusableFrontEnd(
                f"the chain in {cert} is broken: certificate {number + 1}, {_name(upper)}, did not issue "
                f"certificate {number}, {_name(lower)}"
            ) from None


def _check_use(cert: Named, leaf: x509.Certificate) -> None:
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    anyone = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and not anyone & set(usage):
        raise UnusableFrontEnd(f"the certificate in {cert} ({_name(leaf)}) is not for servers (extendedKeyUsage)")


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None:  # version 1 has no extensions: a root of old counts, nothing else does
        return certificate.version is x509.Version.v1 and certificate.issuer == certificate.subject
    return constraints.ca


def _extension[E: x509.ExtensionType](certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
