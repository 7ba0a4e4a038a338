"""Sealing what must come back unread and unchanged: credentials at rest, cursors, the state of held calls.

AES-256-GCM under a key for each purpose, derived from the deployment's secret with HKDF-SHA256 (RFC 5869), so that
nothing sealed for one purpose opens under another. Everything sealed is bound to its context. Names that must come out
the same each time are sealed with AES-SIV (RFC 5297), which shows no more than that they are equal.
"""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
_KEY_BYTES = 32


class SealBroken(ValueError):
    """What should be opened was not sealed here, for this purpose, in this context; or it was changed."""


class Sealer:
    """Seals and opens under one secret; ``purpose`` names what for, ``context`` what it is bound to."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[str, AESGCM] = {}
        self._name_keys: dict[str, AESSIV] = {}

    def seal(self, purpose: str, content: bytes, context: bytes = b"") -> str:
        """``content``, unreadable, as text that is safe in URLs."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._key(purpose).encrypt(nonce, content, context)
        return _text(sealed)

    def seal_name(self, purpose: str, content: bytes, context: bytes = b"") -> str:
        """``content`` as text that is the same each time."""
        return _text(self._name_key(purpose).encrypt(content, [context]))

    def open_name(self, purpose: str, sealed: str, context: bytes = b"") -> bytes:
        """What ``seal_name`` sealed; raises SealBroken."""
        try:
            return self._name_key(purpose).decrypt(_bytes(sealed), [context])
        except (InvalidTag, binascii.Error, ValueError):
            raise SealBroken(f"this is no {purpose} of ours, or not for this") from None

    def open(self, purpose: str, sealed: str, context: bytes = b"") -> bytes:
        """What was sealed; raises SealBroken."""
        try:
            raw = _bytes(sealed)
            return self._key(purpose).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context)
        except (InvalidTag, binascii.Error, ValueError):
            raise SealBroken(f"this is no {purpose} of ours, or not for this") from None

    def _key(self, purpose: str) -> AESGCM:
        key = self._keys.get(purpose)
        if key is None:
            key = self._keys[purpose] = AESGCM(self._derived(purpose, _KEY_BYTES))
        return key

    def _name_key(self, purpose: str) -> AESSIV:
        key = self._name_keys.get(purpose)
        if key is None:
            key = self._name_keys[purpose] = AESSIV(self._derived(f"name/{purpose}", 2 * _KEY_BYTES))
        return key

    def _derived(self, purpose: str, length: int) -> bytes:
        return HKDF(SHA256(), length, salt=None, info=f"interlock/{purpose}".encode()).derive(self._secret)


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _bytes(sealed: str) -> bytes:
    return base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
