import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from interlock_gateway.certificates.errors import CertificateUnreadable
from interlock_gateway.certificates.peer import MAX_DER_BYTES, PeerCertificate
from interlock_gateway.testing.certificates import ClientCa, peer_of

CA = ClientCa()


def test_a_certificate_is_read_once_with_all_its_names() -> None:
    certificate = CA.issue(
        "ada", organization="Engines", emails=("ada@example.com",), dns_names=("ada.example.com",),
        uris=("spiffe://example.com/ada",),
    )  # fmt: skip
    peer = peer_of(certificate)
    der = certificate.public_bytes(Encoding.DER)
    assert peer.fingerprint == f"sha256:{hashlib.sha256(der).hexdigest()}"
    assert len(peer.thumbprint) == 43
    assert (peer.common_name, peer.organization) == ("ada", "Engines")
    assert (peer.emails, peer.dns_names) == (("ada@example.com",), ("ada.example.com",))
    assert peer.uris == ("spiffe://example.com/ada",)
    assert int(peer.serial, 16) == certificate.serial_number
    identifier = x509.SubjectKeyIdentifier.from_public_key(CA.key.public_key()).digest.hex()
    assert peer.key == f"{identifier}.{peer.serial}"


def test_two_common_names_are_none() -> None:
    peer = CA.peer(None, organization="Engines")
    assert peer.common_name is None
    assert peer.limited_as == peer.fingerprint


@given(st.binary(max_size=2000))
def test_whatever_comes_instead_of_a_certificate_is_refused_in_words(der: bytes) -> None:
    with pytest.raises(CertificateUnreadable):
        PeerCertificate.of(der)


_GOOD = CA.issue("ada", emails=("ada@example.com",)).public_bytes(Encoding.DER)


@given(st.integers(0, len(_GOOD) - 1), st.integers(0, 255), st.integers(0, 64))
def test_a_certificate_with_a_changed_byte_is_read_or_refused(place: int, byte: int, cut: int) -> None:
    changed = _GOOD[:place] + bytes([byte]) + _GOOD[place + 1 : len(_GOOD) - cut]
    try:
        peer = PeerCertificate.of(changed)
    except CertificateUnreadable:
        return
    assert peer.fingerprint == f"sha256:{hashlib.sha256(changed).hexdigest()}"


def test_a_certificate_over_the_bound_is_not_even_looked_at() -> None:
    with pytest.raises(CertificateUnreadable, match=str(MAX_DER_BYTES)):
        PeerCertificate.of(b"\x30" * (MAX_DER_BYTES + 1))


def test_a_certificate_of_a_version_that_does_not_exist_is_refused_in_words() -> None:
    version = _GOOD.index(b"\xa0\x03\x02\x01") + 4
    with pytest.raises(CertificateUnreadable):
        PeerCertificate.of(_GOOD[:version] + b"\x07" + _GOOD[version + 1 :])
