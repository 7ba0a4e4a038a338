"""What the certificates of a folder look like (RFC 5280, and RFC 6125 for names). No key is used here."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock_cli.certificates.keys import PublicKey

ORGANIZATION = "Interlock"


class Purpose(Enum):
    """What a leaf is shown for."""

    SERVER = ExtendedKeyUsageOID.SERVER_AUTH
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Validity:
    begin: datetime
    end: datetime


@dataclass(frozen=True)
class Leaf:
    """Who a leaf names, and for what."""

    common_name: str
    names: tuple[x509.GeneralName, ...]
    purpose: Purpose
    organization: str = ORGANIZATION


def subject(common_name: str, organization: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])  # fmt: skip


def authority(
    common_name: str, key: PublicKey, validity: Validity, permitted: Sequence[x509.GeneralName]
) -> x509.CertificateBuilder:
    """A self-signed CA for leaves only; ``permitted`` are the domains and networks it may issue for, if not all."""
    name = subject(common_name, ORGANIZATION)
    builder = (
        _builder(name, name, key, validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False)
    )
    if not permitted:
        return builder
    return builder.add_extension(x509.NameConstraints(permitted, None), critical=True)


def leaf(what: Leaf, key: PublicKey, issuer: x509.Certificate, validity: Validity) -> x509.CertificateBuilder:
    """A leaf below a CA."""
    return _leaf(what, key, issuer.subject, validity).add_extension(_authority_key(issuer), critical=False)


def self_signed(what: Leaf, key: PublicKey, validity: Validity) -> x509.CertificateBuilder:
    """A leaf that stands for itself. It is no CA: whoever trusts it trusts nothing else by that."""
    name = subject(what.common_name, what.organization)
    return _leaf(what, key, name, validity).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False
    )


def _leaf(what: Leaf, key: PublicKey, issuer: x509.Name, validity: Validity) -> x509.CertificateBuilder:
    return (
        _builder(subject(what.common_name, what.organization), issuer, key, validity)
        .add_extension(x509.SubjectAlternativeName(what.names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False, encipher=isinstance(key, rsa.RSAPublicKey)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([what.purpose.value]), critical=False)
    )


def _builder(name: x509.Name, issuer: x509.Name, key: PublicKey, validity: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.begin)
        .not_valid_after(validity.end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The issuer's own identifier, which a CA of others may have formed otherwise than we do."""
    try:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier(
            x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest, None, None
        )
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(*, ca: bool, encipher: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_encipherment=encipher, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def is_permitted(name: x509.GeneralName, permitted: Sequence[x509.GeneralName]) -> bool:
    """Whether name constraints (RFC 5280, section 4.2.1.10) let a name pass; kinds they do not mention pass."""
    same_kind = [each for each in permitted if type(each) is type(name)]
    return not same_kind or any(_is_below(name, each) for each in same_kind)


def _is_below(name: x509.GeneralName, permitted: x509.GeneralName) -> bool:
    if isinstance(name, x509.DNSName) and isinstance(permitted, x509.DNSName):
        host, domain = name.value.lower(), permitted.value.lower().removeprefix(".")
        return host == domain or host.endswith(f".{domain}")
    if isinstance(name, x509.IPAddress) and isinstance(permitted, x509.IPAddress):
        address, network = ipaddress.ip_network(name.value), ipaddress.ip_network(permitted.value)
        return address.version == network.version and address.subnet_of(network)  # pyright: ignore[reportArgumentType] - one version
    return False
