"""OCSP: whose answers count, and how long a request waits for one."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import UpstreamFailed
from interlock_common.testing.clock import ManualClock
from interlock_gateway.certificates.errors import CertificateRevoked, CertificateStatusUnknown
from interlock_gateway.certificates.issuers import Issuers
from interlock_gateway.certificates.ocsp import AnswerRefused, question, read_answer, responder_of
from interlock_gateway.certificates.statuses import Mode, OcspStatuses
from interlock_gateway.testing.certificates import ClientCa, peer_of

CA, OTHER_CA, IMPOSTOR = ClientCa(above=ClientCa("Root")), ClientCa("Other CA"), ClientCa()
ADAS, EVES = CA.issue("ada"), CA.issue("eve")
PEER = peer_of(ADAS)
NOW = SYSTEM_CLOCK.now()
HOUR = timedelta(hours=1)


def answered(
    certificate: x509.Certificate = ADAS, *, ca: ClientCa = CA, revoked: bool = False,
    status: ocsp.OCSPCertStatus | None = None, made: datetime = NOW, lifetime: timedelta | None = HOUR,
    signer: x509.Certificate | None = None, key: ec.EllipticCurvePrivateKey | None = None,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:  # fmt: skip
    status = status or (ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD)
    builder = ocsp.OCSPResponseBuilder().add_response(
        certificate, ca.certificate, digest or hashes.SHA1(), status, made,  # noqa: S303 - names, proves nothing
        None if lifetime is None else made + lifetime,
        made if status is ocsp.OCSPCertStatus.REVOKED else None, None,
    )  # fmt: skip
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer or ca.certificate)
    if signer is not None:
        builder = builder.certificates([signer])
    return builder.sign(key or ca.key, hashes.SHA256()).public_bytes(Encoding.DER)


def read(content: bytes) -> str:
    return read_answer(content, PEER, CA.certificate, NOW.timestamp() + 60).word


def test_the_word_of_the_ca_counts() -> None:
    assert read(answered()) == "good"
    assert read(answered(revoked=True)) == "revoked"
    assert read(answered(status=ocsp.OCSPCertStatus.UNKNOWN)) == "unknown"
    assert read(answered(digest=hashes.SHA256())) == "good"
    assert read(answered(lifetime=None)) == "good"


def test_so_does_that_of_a_responder_that_it_appointed() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    responder = CA.issue("responder", usage=ExtendedKeyUsageOID.OCSP_SIGNING, key=key)
    assert read(answered(signer=responder, key=key)) == "good"


def _delegated(ca: ClientCa, **said: Any) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return answered(signer=ca.issue("responder", key=key, **said), key=key)


REFUSED: dict[str, Callable[[], bytes]] = {
    "signed by somebody else": lambda: answered(ca=IMPOSTOR, key=IMPOSTOR.key),
    "signed by a client": lambda: _delegated(CA),
    "by a responder of another CA": lambda: _delegated(IMPOSTOR, usage=ExtendedKeyUsageOID.OCSP_SIGNING),
    "by a responder that has expired": lambda: _delegated(
        CA, usage=ExtendedKeyUsageOID.OCSP_SIGNING, begins=NOW - 48 * HOUR, lifetime=HOUR
    ),
    "of another certificate": lambda: answered(EVES),
    "of another CA": lambda: answered(ADAS, ca=OTHER_CA, key=OTHER_CA.key),
    "that has expired": lambda: answered(made=NOW - 3 * HOUR),
    "of the future": lambda: answered(made=NOW + HOUR),
    "that says no": lambda: ocsp.OCSPResponseBuilder.build_unsuccessful(
        ocsp.OCSPResponseStatus.UNAUTHORIZED
    ).public_bytes(Encoding.DER),
    "nonsense": lambda: b"\x30\x03\x0a\x01\x00",
    "empty": lambda: b"",
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_an_answer_that_could_be_anybodys_says_nothing(content: Callable[[], bytes]) -> None:
    with pytest.raises(AnswerRefused):
        read(content())


_GOOD = answered()


@given(st.one_of(
    st.binary(max_size=300),
    st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(0, 255)).map(
        lambda each: _GOOD[: each[0]] + bytes([each[1]]) + _GOOD[each[0] + 1 :]
    ),
))  # fmt: skip
def test_no_answer_that_was_changed_crashes_or_turns_into_another_word(content: bytes) -> None:
    with suppress(AnswerRefused):
        assert read(content) == "good"


def test_the_certificate_says_where_to_ask() -> None:
    access = x509.AuthorityInformationAccess([
        x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://ca.example/ocsp")
        )
    ])  # fmt: skip
    assert responder_of(CA.peer("ada", extensions=(access,))) == "http://ca.example/ocsp"
    assert responder_of(PEER) is None
    assert ocsp.load_der_ocsp_request(question(PEER, CA.certificate)).serial_number == ADAS.serial_number


@dataclass
class Responder:
    """What is asked, and answers to it; None is no answer at all."""

    content: bytes | None = None
    asked: list[str] = field(default_factory=list[str])
    hold: asyncio.Event | None = None

    async def ask(self, url: str, _question: bytes) -> bytes:
        self.asked.append(url)
        if self.hold is not None:
            await self.hold.wait()
        if self.content is None:
            raise UpstreamFailed("nobody answers")
        return self.content


def statuses(responder: Responder, mode: Mode = "hard", clock: ManualClock | None = None) -> OcspStatuses:
    return OcspStatuses(
        responder.ask, Issuers((CA.certificate,)), clock or SYSTEM_CLOCK, mode=mode, responder="http://ocsp.example"
    )


async def test_a_good_certificate_is_asked_about_once() -> None:
    responder = Responder(answered())
    known = statuses(responder)
    for _ in range(3):
        await known.learn(PEER)
        known.check(PEER)
    assert responder.asked == ["http://ocsp.example"]


@pytest.mark.parametrize("mode", ["soft", "hard"])
async def test_a_revoked_certificate_is_refused_and_told(mode: Mode) -> None:
    told = list[str]()
    known = statuses(Responder(answered(revoked=True)), mode)
    known.revoked = lambda: told.append("revoked")
    await known.learn(PEER)
    with pytest.raises(CertificateRevoked):
        known.check(PEER)
    assert told == ["revoked"]


async def test_where_nobody_answers_the_setting_decides_and_nobody_waits_twice() -> None:
    responder = Responder()
    soft, hard = statuses(responder, "soft"), statuses(responder, "hard")
    for known in (soft, soft, hard, hard):
        await known.learn(PEER)
    assert len(responder.asked) == 2
    soft.check(PEER)
    with pytest.raises(CertificateStatusUnknown):
        hard.check(PEER)


async def test_many_requests_with_one_certificate_ask_once() -> None:
    responder = Responder(answered(), hold=asyncio.Event())
    known = statuses(responder)
    waiting = [asyncio.create_task(known.learn(PEER)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert responder.hold is not None
    responder.hold.set()
    await asyncio.gather(*waiting)
    assert len(responder.asked) == 1
    known.check(PEER)


async def test_a_status_that_has_ended_is_asked_for_again() -> None:
    clock = ManualClock()
    responder = Responder(answered(made=clock.now(), lifetime=timedelta(seconds=60)))
    known = statuses(responder, clock=clock)
    await known.learn(PEER)
    known.check(PEER)
    clock.advance(61)
    with pytest.raises(CertificateStatusUnknown):
        known.check(PEER)
    responder.content = answered(made=clock.now(), revoked=True)
    await known.learn(PEER)
    with pytest.raises(CertificateRevoked):
        known.check(PEER)


async def test_who_waits_for_an_answer_at_the_end_is_let_go() -> None:
    responder = Responder(answered(), hold=asyncio.Event())
    known = statuses(responder)
    waiting = asyncio.create_task(known.learn(PEER))
    while not responder.asked:  # noqa: ASYNC110 - it is asked within a round of the loop
        await asyncio.sleep(0)
    await known.stop()
    async with asyncio.timeout(1):
        await waiting
