"""Private keys: which kinds there are, and their PEM forms."""

from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
type PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

PRIVATE_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)
_EXPONENT = 65537
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192


class KeyType(StrEnum):
    RSA = "rsa"
    P256 = "p256"
    P384 = "p384"


@dataclass(frozen=True)
class KeyForm:
    """What kind of key is made; ``bits`` counts for RSA."""

    type: KeyType = KeyType.RSA
    bits: int = 4096

    def new(self) -> PrivateKey:
        match self.type:
            case KeyType.RSA:
                return rsa.generate_private_key(_EXPONENT, self.bits)
            case KeyType.P256:
                return ec.generate_private_key(ec.SECP256R1())
            case KeyType.P384:
                return ec.generate_private_key(ec.SECP384R1())


def private_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS#8; with a passphrase encrypted with AES-256-CBC (PBES2, RFC 8018)."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_part(key: PublicKeyTypes | CertificatePublicKeyTypes) -> bytes:
    """What is compared to tell whether two keys are one."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
