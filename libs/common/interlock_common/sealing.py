"""Sealing what must come back unread and unchanged: credentials at rest, cursors, the state of held calls.

AES-256-GCM under a key for each purpose, derived from the deployment's secret with HKDF-SHA256 (RFC 5869), so that
nothing sealed for one purpose opens under another. Everything sealed is bound to its context.
"""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
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

    def seal(self, purpose: str, content: bytes, context: bytes = b"") -> str:
        """``content``, unreadable, as text that is safe in URLs."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._key(purpose).encrypt(nonce, content, context)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, purpose: str, sealed: str, context: bytes = b"") -> bytes:
        """What was sealed; raises SealBroken."""
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            return self._key(purpose).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context)
        except (InvalidTag, binascii.Error, ValueError):
            raise SealBroken(f"this is no {purpose} of ours, or not for this") from None

    def _key(self, purpose: str) -> AESGCM:
        key = self._keys.get(purpose)
        if key is None:
            derived = HKDF(SHA256(), _KEY_BYTES, salt=None, info=f"interlock/{purpose}".encode()).derive(self._secret)
            key = self._keys[purpose] = AESGCM(derived)
        return key
