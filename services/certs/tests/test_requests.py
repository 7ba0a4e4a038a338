from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from interlock_certs.errors import RequestRejected
from interlock_certs.requests import read_request

KEY = ec.generate_private_key(ec.SECP256R1())
NAMES: Any = st.lists(
    st.one_of(
        st.text(st.characters(codec="ascii"), max_size=40).map(x509.DNSName),
        st.text(st.characters(codec="ascii"), max_size=40).map(x509.UniformResourceIdentifier),
        st.emails().filter(str.isascii).map(x509.RFC822Name),
        st.ip_addresses().map(x509.IPAddress),
        st.just(x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
        st.just(x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x04\x00")),
    ),
    max_size=8,
)  # fmt: skip


def test_a_request_says_what_it_asks_for(csr: Any) -> None:
    names = (x509.DNSName("front"), x509.RFC822Name("a@b.example"))
    usage = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    request = read_request(csr(*names, name="front", extensions=[usage]))
    assert (request.names, request.usages, request.common_names) == (names, {"server"}, ["front"])
    assert request.key == csr.key.public_key()
    assert read_request(csr()).usages is None


def test_pem_is_read_as_well(csr: Any) -> None:
    pem = x509.load_der_x509_csr(csr()).public_bytes(Encoding.PEM)
    assert read_request(pem).key == csr.key.public_key()


def test_proof_of_possession_is_demanded(csr: Any) -> None:
    signed_by_another = bytearray(csr())
    signed_by_another[-1] ^= 1
    with pytest.raises(RequestRejected, match="not signed by the key"):
        read_request(bytes(signed_by_another))


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        dsa.generate_private_key(2048),
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP224R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_of_other_kinds_are_refused(csr: Any, key: Any) -> None:
    with pytest.raises(RequestRejected, match="the key must be P-256, P-384 or RSA"):
        read_request(csr(key=key))


def test_strong_keys_are_taken(csr: Any) -> None:
    for key in (rsa.generate_private_key(65537, 3072), ec.generate_private_key(ec.SECP384R1())):
        assert read_request(csr(key=key)).key == key.public_key()


@pytest.mark.parametrize(
    ("extension", "critical", "why"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), True, "asks to be a CA"),
        (x509.KeyUsage(False, False, False, False, False, True, False, False, False), True, "key usage of a CA"),
        (x509.KeyUsage(False, False, False, False, False, False, True, False, False), False, "key usage of a CA"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False, r"usage 1\.3\.6\.1\.5\.5\.7\.3\.9"),
        (x509.NameConstraints([x509.DNSName("a")], None), True, r"demands the extension 2\.5\.29\.30"),
        (x509.SubjectAlternativeName([x509.DNSName(f"h{n}") for n in range(65)]), False, "more than 64 names"),
    ],
)
def test_what_no_leaf_gets_is_refused(csr: Any, extension: Any, critical: bool, why: str) -> None:
    with pytest.raises(RequestRejected, match=why):
        read_request(csr(extensions=[(extension, critical)]))


@pytest.mark.parametrize(
    "extension",
    [
        x509.BasicConstraints(ca=False, path_length=None),
        x509.KeyUsage(True, False, True, False, False, False, False, False, False),
        x509.SubjectKeyIdentifier(b"1234"),
        x509.NameConstraints([x509.DNSName("a")], None),
    ],
)
def test_what_every_leaf_has_anyway_may_be_asked_for(csr: Any, extension: Any) -> None:
    assert read_request(csr(extensions=[(extension, False)])).names == ()


def test_a_request_over_the_bound_is_refused() -> None:
    with pytest.raises(RequestRejected, match="over 65536 bytes"):
        read_request(b"0" * 65537)


VALID = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .add_extension(x509.SubjectAlternativeName([x509.DNSName("front")]), critical=False)
    .sign(KEY, hashes.SHA256())
)
DER, PEM = VALID.public_bytes(Encoding.DER), VALID.public_bytes(Encoding.PEM)


@settings(max_examples=400)
@example(b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n")
@example(b"-----BEGIN CERTIFICATE REQUEST-----\n\xff\n-----END CERTIFICATE REQUEST-----\n")
@given(st.binary(max_size=512) | st.binary(max_size=200).map(lambda b: b"-----BEGIN CERTIFICATE REQUEST-----\n" + b))
def test_garbage_is_rejected_and_never_an_accident(garbage: bytes) -> None:
    with pytest.raises(RequestRejected):
        read_request(garbage)


@settings(max_examples=600)
@given(
    base=st.sampled_from([DER, PEM]),
    at=st.integers(0, 10_000),
    change=st.binary(max_size=6),
    kind=st.sampled_from(["put", "insert", "cut"]),
)
def test_a_damaged_request_is_rejected_or_means_the_same(base: bytes, at: int, change: bytes, kind: str) -> None:
    at %= len(base)
    tail = {"put": base[at + len(change) :], "insert": base[at:], "cut": b""}[kind]
    try:
        request = read_request(base[:at] + change + tail)
    except RequestRejected:
        return
    assert request.key == KEY.public_key()
    assert request.names == (x509.DNSName("front"),)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=NAMES)
def test_whatever_names_are_asked_for_is_read_or_rejected(csr: Any, names: list[x509.GeneralName]) -> None:
    try:
        request = read_request(csr(*names))
    except RequestRejected:
        return
    assert request.names == tuple(names)
