"""What an OCSP answer (RFC 6960) says of a certificate, once it is clear that its CA has said so."""

from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from interlock_common.errors import InterlockError
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.unreadable import UNREADABLE

MAX_BYTES = 64 * 1024
_LEEWAY = 300.0  # clocks of responders differ
_LONGEST = 3600.0
_WITHOUT_END = 60.0

type Word = Literal["good", "revoked", "unknown"]


class AnswerRefused(InterlockError):
    """An answer that says nothing of the certificate, or nothing that counts."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a certificate until ``ends``, in seconds since the epoch."""

    word: Word
    ends: float


def responder_of(peer: PeerCertificate) -> str | None:
    """Where the certificate says that its status is to be had (authorityInfoAccess)."""
    certificate = x509.load_der_x509_certificate(peer.der)
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return None
    for each in access:
        location = each.access_location
        if each.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            return location.value
    return None


def question(peer: PeerCertificate, issuer: x509.Certificate) -> bytes:
    """The request in DER. SHA-1 names the CA here and proves nothing; every responder understands it."""
    certificate = x509.load_der_x509_certificate(peer.der)
    built = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1()).build()  # noqa: S303
    return built.public_bytes(Encoding.DER)


def read_answer(content: bytes, peer: PeerCertificate, issuer: x509.Certificate, now: float) -> Status:
    """The status in an answer; raises AnswerRefused, whatever ``content`` is."""
    try:
        return _read(content, peer, issuer, now)
    except UNREADABLE as error:
        raise AnswerRefused(f"the OCSP answer cannot be used: {error or type(error).__name__}") from None


def _read(content: bytes, peer: PeerCertificate, issuer: x509.Certificate, now: float) -> Status:
    answer = ocsp.load_der_ocsp_response(content)
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise AnswerRefused(f"the OCSP responder says {answer.response_status.name.lower()}")
    _verify(answer, _signer(answer, issuer, now))
    for each in answer.responses:
        if each.serial_number == int(peer.serial, 16) and _is_of(each, peer, issuer):
            return _status(each, now)
    raise AnswerRefused("the OCSP answer is about another certificate")


def _status(said: ocsp.OCSPSingleResponse, now: float) -> Status:
    begins, ends = said.this_update_utc.timestamp(), said.next_update_utc
    if begins > now + _LEEWAY:
        raise AnswerRefused("the OCSP answer is of the future")
    last = ends.timestamp() if ends is not None else begins + _WITHOUT_END + _LEEWAY
    if last <= now:
        raise AnswerRefused("the OCSP answer has expired")
    words: dict[ocsp.OCSPCertStatus, Word] = {
        ocsp.OCSPCertStatus.GOOD: "good", ocsp.OCSPCertStatus.REVOKED: "revoked",
        ocsp.OCSPCertStatus.UNKNOWN: "unknown",
    }  # fmt: skip
    return Status(words[said.certificate_status], min(last, now + _LONGEST))


def _is_of(said: ocsp.OCSPSingleResponse, peer: PeerCertificate, issuer: x509.Certificate) -> bool:
    """Whether an answer is about a certificate of this CA, by the digest that the answer chose."""
    certificate = x509.load_der_x509_certificate(peer.der)
    named = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, said.hash_algorithm).build()
    return (named.issuer_name_hash, named.issuer_key_hash) == (said.issuer_name_hash, said.issuer_key_hash)


def _signer(answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: float) -> x509.Certificate:
    """Who signed: the CA itself, or a responder that it gave a certificate for this (RFC 6960, section 4.2.2.2)."""
    for each in answer.certificates:
        if each == issuer:
            continue
        try:
            each.verify_directly_issued_by(issuer)
            usage = each.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except UNREADABLE:
            continue
        current = each.not_valid_before_utc.timestamp() <= now < each.not_valid_after_utc.timestamp()
        if current and ExtendedKeyUsageOID.OCSP_SIGNING in usage and _is_responder(answer, each):
            return each
    return issuer


def _is_responder(answer: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if answer.responder_name is not None:
        return answer.responder_name == certificate.subject
    return answer.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _verify(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> None:
    key, signature, content = signer.public_key(), answer.signature, answer.tbs_response_bytes
    algorithm = answer.signature_hash_algorithm
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, content)
    elif algorithm is None or isinstance(algorithm, hashes.SHA1 | hashes.MD5):
        raise AnswerRefused("the OCSP answer is signed with a digest that is not safe")
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, content, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, content, ec.ECDSA(algorithm))
    else:
        raise AnswerRefused("the OCSP answer is signed with a key that is not known here")
