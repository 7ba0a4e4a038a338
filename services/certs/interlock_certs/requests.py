"""Certification requests (RFC 2986): proof that the key is there, and rules for the key. Nothing else is read."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from interlock_certs.errors import RequestRejected

MAX_REQUEST_BYTES = 64 * 1024
_RSA_BITS = range(3072, 8192 + 1)  # above, verifying a signature costs more than a request is worth
_RSA_EXPONENT = 65537

type LeafKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def requested_key(csr: bytes) -> LeafKey:
    """The public key of a request, DER or PEM, once its owner has shown to have the private one.

    Raises RequestRejected that says which rule the request breaks.
    """
    if len(csr) > MAX_REQUEST_BYTES:
        raise RequestRejected(f"the request is over {MAX_REQUEST_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(csr) if csr.lstrip().startswith(b"-----") else x509.load_der_x509_csr(csr)
        key = request.public_key()
    except UnsupportedAlgorithm:
        raise RequestRejected(_key_rule()) from None
    except (ValueError, TypeError, x509.InvalidVersion):
        raise RequestRejected("this is no PKCS#10 request") from None
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or not _is_strong(key):
        raise RequestRejected(_key_rule())
    if not _is_signed(request):
        raise RequestRejected("the request is not signed by the key it names")
    return key


def _is_strong(key: LeafKey) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return key.key_size in _RSA_BITS and key.public_numbers().e >= _RSA_EXPONENT


def _is_signed(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return False


def _key_rule() -> str:
    return f"the key must be P-256, P-384 or RSA of {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits"
