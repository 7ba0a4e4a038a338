"""Certification requests (RFC 2986): proof that the key is there, rules for the key, and what is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock_certs.errors import RequestRejected

MAX_REQUEST_BYTES = 64 * 1024
MAX_NAMES = 64
_RSA_BITS = range(3072, 8192 + 1)  # above, verifying a signature costs more than a request is worth
_RSA_EXPONENT = 65537
_UNREADABLE = (ValueError, TypeError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_USAGES: dict[x509.ObjectIdentifier, "Usage"] = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
}

type LeafKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
type Usage = Literal["client", "server"]


@dataclass(frozen=True)
class Request:
    """What a request proves and asks for; ``usages`` is None where it asks for none in particular."""

    key: LeafKey
    subject: x509.Name
    names: tuple[x509.GeneralName, ...] = ()
    usages: frozenset[Usage] | None = None

    @property
    def common_names(self) -> list[str]:
        return [str(attribute.value) for attribute in self.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def read_request(csr: bytes) -> Request:
    """A request, DER or PEM, once its owner has shown to have the private key.

    Raises RequestRejected that says which rule the request breaks.
    """
    if len(csr) > MAX_REQUEST_BYTES:
        raise RequestRejected(f"the request is over {MAX_REQUEST_BYTES} bytes")
    parsed = _readable(lambda: _parsed(csr))
    try:
        key = parsed.public_key()
    except UnsupportedAlgorithm:
        raise RequestRejected(key_rule()) from None
    except _UNREADABLE:
        raise RequestRejected("this is no PKCS#10 request") from None
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or not is_strong(key):
        raise RequestRejected(key_rule())
    if not _is_signed(parsed):
        raise RequestRejected("the request is not signed by the key it names")
    subject = _readable(lambda: parsed.subject)
    return _with_wishes(Request(key, subject), _readable(lambda: parsed.extensions))


def is_strong(key: LeafKey) -> bool:
    """Whether a key, of a leaf or of a CA, is of a kind and size that counts here."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return key.key_size in _RSA_BITS and key.public_numbers().e >= _RSA_EXPONENT


def key_rule() -> str:
    return f"the key must be P-256, P-384 or RSA of {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits"


def _parsed(csr: bytes) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr(csr) if csr.lstrip().startswith(b"-----") else x509.load_der_x509_csr(csr)


def _readable[T](read: Callable[[], T]) -> T:
    try:
        return read()
    except UnsupportedAlgorithm:
        raise RequestRejected(key_rule()) from None
    except _UNREADABLE:
        raise RequestRejected("this is no PKCS#10 request") from None


def _is_signed(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _with_wishes(request: Request, extensions: x509.Extensions) -> Request:
    names: tuple[x509.GeneralName, ...] = ()
    usages: frozenset[Usage] | None = None
    for extension in extensions:
        match extension.value:
            case x509.SubjectAlternativeName() as wished:
                names = tuple(wished)
            case x509.ExtendedKeyUsage() as wished:
                usages = _usages(wished)
            case x509.BasicConstraints(ca=True):
                raise RequestRejected("the request asks to be a CA")
            case x509.KeyUsage() as wished if wished.key_cert_sign or wished.crl_sign:
                raise RequestRejected("the request asks for the key usage of a CA")
            case x509.BasicConstraints() | x509.SubjectKeyIdentifier() | x509.KeyUsage():
                pass  # leaves have these as they are, whoever asks
            case _ if extension.critical:
                raise RequestRejected(f"the request demands the extension {extension.oid.dotted_string}")
            case _:
                pass
    if len(names) > MAX_NAMES:
        raise RequestRejected(f"the request asks for more than {MAX_NAMES} names")
    return Request(request.key, request.subject, names, usages)


def _usages(wished: x509.ExtendedKeyUsage) -> frozenset[Usage]:
    unknown = [oid.dotted_string for oid in wished if oid not in _USAGES]
    if unknown:
        raise RequestRejected(f"the request asks for the usage {unknown[0]}; there are clientAuth and serverAuth")
    return frozenset(_USAGES[oid] for oid in wished)
