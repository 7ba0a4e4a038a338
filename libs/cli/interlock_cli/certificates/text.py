"""A certificate in full, for people: what ``openssl x509 -text`` tells, without the parts that nobody reads."""

import warnings
from collections.abc import Iterator
from functools import singledispatch

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
           "key_cert_sign", "crl_sign")  # fmt: skip
_KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS", x509.IPAddress: "IP", x509.UniformResourceIdentifier: "URI", x509.RFC822Name: "e-mail",
}  # fmt: skip
_WIDTH, _LONGEST = 22, 500
_MOMENT = "%Y-%m-%d %H:%M:%S UTC"


def describe(certificate: x509.Certificate) -> str:
    """Lines of a name and what it is; every extension, critical ones marked."""
    lines = [f"{name:<{_WIDTH}}{value}" for name, value in _fields(certificate)]
    for extension in certificate.extensions:
        mark = " (critical)" if extension.critical else ""
        lines.append(f"{_extension_name(extension.oid)}{mark}")
        lines += [f"    {line}" for line in _extension_lines(extension.value)]
    return "\n".join(lines)


def names_of(certificate: x509.Certificate) -> list[str]:
    """The alternative names, each as it is written."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [_plain_name(name) for name in names]


def fingerprint_of(certificate: x509.Certificate) -> str:
    """As ``PeerCertificate`` and pins write it."""
    return "sha256:" + certificate.fingerprint(hashes.SHA256()).hex()


def serial_of(certificate: x509.Certificate) -> str:
    """In hexadecimal; some old roots have one that is not positive, which the library warns about each time."""
    with warnings.catch_warnings(action="ignore"):
        return f"{certificate.serial_number:x}"


def _fields(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    yield "subject", certificate.subject.rfc4514_string() or "(empty)"
    yield "issuer", certificate.issuer.rfc4514_string() or "(empty)"
    yield "serial", serial_of(certificate)
    yield "not before", f"{certificate.not_valid_before_utc:{_MOMENT}}"
    yield "not after", f"{certificate.not_valid_after_utc:{_MOMENT}}"
    yield "key", _key(certificate)
    yield "signature", _signature(certificate)
    yield "SHA-256 fingerprint", certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA, {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA, {key.curve.name}"
    return type(key).__name__.removesuffix("PublicKey")


def _signature(certificate: x509.Certificate) -> str:
    try:
        used = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return certificate.signature_algorithm_oid.dotted_string
    return f"with {used.name.upper()}" if used else "Ed25519"


def _extension_name(oid: x509.ObjectIdentifier) -> str:
    known = getattr(oid, "_name", "")
    return known if known and known != "Unknown OID" else oid.dotted_string


@singledispatch
def _extension_lines(value: x509.ExtensionType) -> list[str]:
    return [str(value)[:_LONGEST]]


@_extension_lines.register
def _(value: x509.SubjectAlternativeName) -> list[str]:
    return [", ".join(map(_name, value))]


@_extension_lines.register
def _(value: x509.BasicConstraints) -> list[str]:
    length = "" if value.path_length is None else f", path length {value.path_length}"
    return [f"CA: {'yes' if value.ca else 'no'}{length}"]


@_extension_lines.register
def _(value: x509.KeyUsage) -> list[str]:
    return [", ".join(usage.replace("_", " ") for usage in _USAGES if getattr(value, usage))]


@_extension_lines.register
def _(value: x509.ExtendedKeyUsage) -> list[str]:
    return [", ".join(map(_extension_name, value))]


@_extension_lines.register
def _(value: x509.SubjectKeyIdentifier) -> list[str]:
    return [value.digest.hex(":").upper()]


@_extension_lines.register
def _(value: x509.AuthorityKeyIdentifier) -> list[str]:
    return [value.key_identifier.hex(":").upper() if value.key_identifier else "without a key identifier"]


@_extension_lines.register
def _(value: x509.NameConstraints) -> list[str]:
    both = (("permitted", value.permitted_subtrees), ("excluded", value.excluded_subtrees))
    return [f"{word}: {', '.join(map(_name, names))}" for word, names in both if names]


@_extension_lines.register
def _(value: x509.UnrecognizedExtension) -> list[str]:
    return [value.value.hex(":")[:_LONGEST]]


def _name(name: x509.GeneralName) -> str:
    return f"{_KINDS.get(type(name), type(name).__name__)}:{_plain_name(name)}"


def _plain_name(name: x509.GeneralName) -> str:
    value = name.value
    return value.rfc4514_string() if isinstance(value, x509.Name) else str(value)
