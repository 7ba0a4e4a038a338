"""The forms in which a certificate travels as text: PEM (RFC 7468), PEM in URL escapes, and bare base64 of its DER."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from interlock_gateway.certificates.errors import CertificateUnreadable

MAX_TEXT = 48 * 1024
"""Longer than any certificate of ``MAX_DER_BYTES`` in the widest of the forms."""
_PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END (?:TRUSTED )?CERTIFICATE-----")
_ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}")


def der_of(text: bytes) -> bytes:
    """The DER of the first certificate in ``text``, whichever form it has; raises CertificateUnreadable."""
    if len(text) > MAX_TEXT:
        raise CertificateUnreadable(f"the client certificate is over {MAX_TEXT} bytes of text")
    if _ESCAPED.search(text):  # neither PEM nor base64 has a percent sign
        text = unquote_to_bytes(text)
    text = text.strip().strip(b'"')
    match = _PEM.search(text)
    if match is not None:
        return _decoded(match[1])
    if b"-----" in text:
        raise CertificateUnreadable("the client certificate is no PEM")
    return _decoded(text.removeprefix(b":").removesuffix(b":"))  # colons mark a byte sequence (RFC 8941, 3.3.5)


def _decoded(text: bytes) -> bytes:
    try:
        der = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        raise CertificateUnreadable("the client certificate is no base64") from None
    if not der:
        raise CertificateUnreadable("the client certificate is empty")
    return der
