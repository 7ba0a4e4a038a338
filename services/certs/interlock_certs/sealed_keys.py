"""Encrypting a private key (PKCS #8, RFC 5958) so that guessing its passphrase is slow.

The library writes such files with 2,048 rounds of PBKDF2 and cannot be told otherwise; it, OpenSSL and others read any
number of rounds.
"""

import base64
import os
import textwrap

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

ROUNDS = 600_000
_PBES2 = x509.ObjectIdentifier("1.2.840.113549.1.5.13")
_PBKDF2 = x509.ObjectIdentifier("1.2.840.113549.1.5.12")
_HMAC_SHA256 = x509.ObjectIdentifier("1.2.840.113549.2.9")
_AES256_CBC = x509.ObjectIdentifier("2.16.840.1.101.3.4.1.42")
_KEY_BYTES, _BLOCK_BYTES = 32, 16
_LINE = 64


@asn1.sequence
class _Prf:
    algorithm: x509.ObjectIdentifier
    parameters: asn1.Null


@asn1.sequence
class _Pbkdf2:
    salt: bytes
    rounds: int
    prf: _Prf


@asn1.sequence
class _Kdf:
    algorithm: x509.ObjectIdentifier
    parameters: _Pbkdf2


@asn1.sequence
class _Encryption:
    algorithm: x509.ObjectIdentifier
    iv: bytes


@asn1.sequence
class _Pbes2:
    kdf: _Kdf
    encryption: _Encryption


@asn1.sequence
class _Algorithm:
    algorithm: x509.ObjectIdentifier
    parameters: _Pbes2


@asn1.sequence
class _EncryptedPrivateKeyInfo:
    algorithm: _Algorithm
    data: bytes


def sealed(pkcs8_der: bytes, passphrase: bytes) -> bytes:
    """The PEM of a key, encrypted with AES-256 (PBES2, RFC 8018)."""
    salt, iv = os.urandom(_BLOCK_BYTES), os.urandom(_BLOCK_BYTES)
    key = PBKDF2HMAC(hashes.SHA256(), _KEY_BYTES, salt, ROUNDS).derive(passphrase)
    padder = padding.PKCS7(_BLOCK_BYTES * 8).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    data = encryptor.update(padder.update(pkcs8_der) + padder.finalize()) + encryptor.finalize()
    kdf = _Kdf(
        algorithm=_PBKDF2,
        parameters=_Pbkdf2(salt=salt, rounds=ROUNDS, prf=_Prf(algorithm=_HMAC_SHA256, parameters=asn1.Null())),
    )
    scheme = _Pbes2(kdf=kdf, encryption=_Encryption(algorithm=_AES256_CBC, iv=iv))
    der = asn1.encode_der(
        _EncryptedPrivateKeyInfo(algorithm=_Algorithm(algorithm=_PBES2, parameters=scheme), data=data)
    )
    lines = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), _LINE))
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{lines}\n-----END ENCRYPTED PRIVATE KEY-----\n".encode()
