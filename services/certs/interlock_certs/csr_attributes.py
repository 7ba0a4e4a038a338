"""EST ``csrattrs`` (RFC 7030, section 4.5.2; RFC 9908): what a request to this CA had best look like."""

from cryptography import x509
from cryptography.hazmat import asn1

_EC_PUBLIC_KEY = x509.ObjectIdentifier("1.2.840.10045.2.1")
_P256 = x509.ObjectIdentifier("1.2.840.10045.3.1.7")
_ECDSA_WITH_SHA256 = x509.ObjectIdentifier("1.2.840.10045.4.3.2")


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    values: asn1.SetOf[x509.ObjectIdentifier]


@asn1.sequence
class _CsrAttributes:
    """Of the ``SEQUENCE OF AttrOrOID``, the two that are said here."""

    key: _Attribute
    signature: x509.ObjectIdentifier


WANTED = asn1.encode_der(
    _CsrAttributes(
        key=_Attribute(type=_EC_PUBLIC_KEY, values=asn1.SetOf([_P256])),
        signature=_ECDSA_WITH_SHA256,
    )
)
"""A P-256 key and a signature with SHA-256; other keys of ``requests.py`` are taken as well."""
