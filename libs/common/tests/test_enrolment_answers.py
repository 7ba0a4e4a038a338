"""What an enrolment server may answer: chains in any order, other CAs beside them, garbage."""

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_common import enrolment
from interlock_common.errors import UpstreamFailed
from interlock_common.testing.pki import ScratchAuthority

AUTHORITY = ScratchAuthority("one")
KEY_PEM, CHAIN = AUTHORITY.issue(spiffe="spiffe://interlock.test/svc/auth")
KEY: Any = load_pem_private_key(KEY_PEM, None)
[LEAF], [ROOT] = x509.load_pem_x509_certificates(CHAIN), x509.load_pem_x509_certificates(AUTHORITY.bundle_pem)
ANSWER = pkcs7.serialize_certificates([ROOT, LEAF], Encoding.DER)


def chain_of(der: bytes) -> list[x509.Certificate]:
    found = enrolment._certificates(base64.encodebytes(der))  # pyright: ignore[reportPrivateUsage]
    return x509.load_pem_x509_certificates(enrolment._chain_of(found, KEY))  # pyright: ignore[reportPrivateUsage]


def test_a_chain_is_the_leaf_and_what_leads_to_the_root_without_it() -> None:
    assert chain_of(ANSWER) == [LEAF]


def test_a_ca_of_the_same_name_is_not_taken_for_the_issuer() -> None:
    twin = x509.load_pem_x509_certificate(ScratchAuthority("one").bundle_pem)
    assert chain_of(pkcs7.serialize_certificates([twin, ROOT, LEAF], Encoding.DER)) == [LEAF]


def test_an_answer_without_the_leaf_is_an_error() -> None:
    with pytest.raises(UpstreamFailed, match="no certificate for the key that was sent"):
        chain_of(pkcs7.serialize_certificates([ROOT], Encoding.DER))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning", "ignore::UserWarning")
@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, len(ANSWER) - 1), change=st.binary(max_size=3), cut=st.booleans())
def test_a_damaged_answer_is_an_error_or_means_the_same(at: int, change: bytes, *, cut: bool) -> None:
    try:
        leaf, *above = chain_of(ANSWER[:at] + change + (b"" if cut else ANSWER[at + len(change) :]))
    except UpstreamFailed:
        return
    assert leaf.public_key() == KEY.public_key()
    for issuer in above:  # a root that came to name another issuer passes for an intermediate, and verifies nothing
        assert (issuer.subject, len(above)) == (leaf.issuer, 1)
        with pytest.raises((ValueError, TypeError, InvalidSignature)):
            issuer.verify_directly_issued_by(ROOT)
