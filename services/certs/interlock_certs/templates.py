"""What the certificates of a deployment look like (RFC 5280): root, issuing CA, leaf. No key is used here."""

from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interlock_certs.issuers import key_identifier
from interlock_certs.profiles import Grant
from interlock_certs.requests import LeafKey, Usage

_PURPOSES: dict[Usage, x509.ObjectIdentifier] = {
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
}


class Validity(NamedTuple):
    begin: datetime
    end: datetime


def root(name: x509.Name, key: LeafKey, validity: Validity) -> x509.CertificateBuilder:
    """Signs issuing CAs only."""
    return _ca(_builder(name, name, key, validity), path_length=1)


def issuing(name: x509.Name, issuer: x509.Certificate, key: LeafKey, validity: Validity) -> x509.CertificateBuilder:
    """Signs leaves only."""
    return _below(_ca(_builder(name, issuer.subject, key, validity), path_length=0), issuer)


def leaf(
    spiffe_id: str, grant: Grant, issuer: x509.Certificate, key: LeafKey, validity: Validity
) -> x509.CertificateBuilder:
    """A leaf called ``spiffe_id`` and by the names that are granted.

    The bus maps e-mail, DNS and URI names and the subject of a leaf, in this order, to a user, so a service has its
    URI name and nothing else. Names are critical where the subject is empty (RFC 5280, section 4.2.1.6).
    """
    sans = [x509.UniformResourceIdentifier(spiffe_id), *grant.names]
    called = [x509.NameAttribute(NameOID.COMMON_NAME, grant.common_name)] if grant.common_name else []
    builder = (
        _builder(x509.Name(called), issuer.subject, key, validity)
        .add_extension(x509.SubjectAlternativeName(sans), critical=not called)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_PURPOSES[usage] for usage in sorted(grant.usages)]), critical=False)
    )
    return _below(builder, issuer)


def name(trust_domain: str, role: str) -> x509.Name:
    """The subject of a CA."""
    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),  # ub-organization-name
        x509.NameAttribute(NameOID.COMMON_NAME, f"Interlock {role}"),
    ])  # fmt: skip


def _builder(subject: x509.Name, issuer: x509.Name, key: LeafKey, validity: Validity) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.begin)
        .not_valid_after(validity.end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        _usage(ca=True), critical=True
    )


def _below(builder: x509.CertificateBuilder, issuer: x509.Certificate) -> x509.CertificateBuilder:
    return builder.add_extension(x509.AuthorityKeyIdentifier(key_identifier(issuer), None, None), critical=False)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


ISSUING_EXTENSIONS: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (x509.BasicConstraints(ca=True, path_length=0), True),
    (_usage(ca=True), True),
)
"""What the request for an issuing CA asks an offline root for, and whether it is critical."""
