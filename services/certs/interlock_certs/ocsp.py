"""The OCSP responder (RFC 6960): what the issuing CAs say of one of their leaves, signed by themselves.

An answer without a nonce is kept until half its time is over or something is revoked, so that many who ask cost one
signature. A request is bounded before it is parsed.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.crl import REASONS
from interlock_certs.issuers import Issuer
from interlock_certs.models import IssuedCertificate
from interlock_common.clock import Clock
from interlock_common.database import transaction

MAX_REQUEST = 4096
_MAX_NONCE = 128  # RFC 9654, section 2.1
_MAX_KEPT = 10_000
_HASHES = (hashes.SHA1, hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SPKI_BITS_TAG = 0x03
_BACKDATED = timedelta(minutes=1)

type _Key = tuple[str, int, str]


@dataclass(frozen=True)
class Answer:
    """A response (DER), and until when it may be kept; None for one that is for this request only."""

    der: bytes
    fresh_until: datetime | None = None


class OcspResponder:
    """Answers for every issuing CA that counts; a certificate it did not issue is ``unknown``."""

    def __init__(
        self, engine: AsyncEngine, issuers: Callable[[], Sequence[Issuer]], lifetime: timedelta, clock: Clock
    ) -> None:
        self._engine = engine
        self._issuers = issuers
        self._lifetime = lifetime
        self._clock = clock
        self._kept: dict[_Key, Answer] = {}

    def changed(self) -> None:
        """Something was revoked: what was answered is out of date."""
        self._kept.clear()

    async def answer(self, body: bytes) -> Answer:
        """The response to a request; one that cannot be answered is told so in a response, too."""
        if len(body) > MAX_REQUEST:
            return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        try:
            request = ocsp.load_der_ocsp_request(body)
            algorithm, nonce = request.hash_algorithm, _nonce(request)
        except (ValueError, TypeError, NotImplementedError, UnsupportedAlgorithm):
            return _unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        issuer = self._issuer_of(request, algorithm)
        if issuer is None:
            return _unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        key = (issuer.key_id, request.serial_number, algorithm.name)
        kept = self._kept.get(key)
        if nonce is None and kept is not None and kept.fresh_until and self._clock.now() < kept.fresh_until:
            return kept
        made = await self._sign(issuer, request, nonce)
        if nonce is None:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = made
        return made

    def _issuer_of(self, request: ocsp.OCSPRequest, algorithm: hashes.HashAlgorithm) -> Issuer | None:
        if not isinstance(algorithm, _HASHES):
            return None
        for issuer in self._issuers():
            if (
                _digest(algorithm, _key_bits(issuer.certificate)) == request.issuer_key_hash
                and _digest(algorithm, issuer.certificate.subject.public_bytes()) == request.issuer_name_hash
            ):
                return issuer
        return None

    async def _sign(self, issuer: Issuer, request: ocsp.OCSPRequest, nonce: bytes | None) -> Answer:
        now = self._clock.now().replace(microsecond=0)
        serial = request.serial_number
        async with transaction(self._engine) as session:
            leaf = await store.leaf_of(session, f"{serial:x}") if serial > 0 else None
        if leaf is not None and leaf.issuer != issuer.key_id:
            leaf = None
        status, revoked_at, reason = _status(leaf)
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                request.issuer_name_hash, request.issuer_key_hash, serial, request.hash_algorithm, status,
                now - _BACKDATED, now + self._lifetime, revoked_at, reason,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, issuer.certificate)
        )  # fmt: skip
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        response = await asyncio.to_thread(issuer.sign, builder)
        fresh_until = now + self._lifetime / 2 if nonce is None else None
        return Answer(response.public_bytes(Encoding.DER), fresh_until)


def _status(
    leaf: IssuedCertificate | None,
) -> tuple[ocsp.OCSPCertStatus, datetime | None, x509.ReasonFlags | None]:
    if leaf is None:
        return ocsp.OCSPCertStatus.UNKNOWN, None, None
    if leaf.revoked_at is None:
        return ocsp.OCSPCertStatus.GOOD, None, None
    reason = next((flag for name, flag in REASONS.items() if name == leaf.reason), None)
    return ocsp.OCSPCertStatus.REVOKED, datetime.fromtimestamp(leaf.revoked_at, UTC), reason


def _nonce(request: ocsp.OCSPRequest) -> bytes | None:
    """The nonce of a request; raises ValueError for one that no client has."""
    try:
        nonce = request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None
    if not 1 <= len(nonce) <= _MAX_NONCE:
        raise ValueError("a nonce has 1 to 128 bytes")
    return nonce


def _digest(algorithm: hashes.HashAlgorithm, content: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(content)
    return digest.finalize()


def _key_bits(certificate: x509.Certificate) -> bytes:
    """The value of the BIT STRING subjectPublicKey, without tag, length and unused bits (RFC 6960, section 4.1.1)."""
    return _bit_string(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _bit_string(spki: bytes) -> bytes:
    """The last element of a SubjectPublicKeyInfo: SEQUENCE { algorithm SEQUENCE, subjectPublicKey BIT STRING }."""
    _, start, _ = _element(spki, 0)
    _, _, after_algorithm = _element(spki, start)
    tag, start, end = _element(spki, after_algorithm)
    if tag != _SPKI_BITS_TAG:
        raise ValueError("this is no SubjectPublicKeyInfo")
    return spki[start + 1 : end]


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, beginning and end of the content of the DER element at ``at``."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(der[start : start + size]), start + size
    return der[at], start, start + length


def _unsuccessful(status: ocsp.OCSPResponseStatus) -> Answer:
    return Answer(ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER))
