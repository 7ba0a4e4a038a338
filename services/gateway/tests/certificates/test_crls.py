"""Revocation lists: which are believed, and what they do."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import ConfigurationError, UpstreamFailed
from interlock_gateway.certificates.crl_sources import CrlSources
from interlock_gateway.certificates.crls import Crls, read_crl
from interlock_gateway.certificates.errors import CertificateRefused, CertificateRevoked, CertificateStatusUnknown
from interlock_gateway.certificates.fetching import Fetcher, check_url
from interlock_gateway.certificates.issuers import Issuers, read_issuers
from interlock_gateway.testing.certificates import ClientCa, peer_of
from interlock_gateway.testing.servers import serving

CA, OTHER_CA = ClientCa(), ClientCa("Other CA")
IMPOSTOR = ClientCa(CA.name)
ADAS, EVES = CA.issue("ada"), CA.issue("eve")
ISSUERS = Issuers((CA.certificate, OTHER_CA.certificate))
HOUR = timedelta(hours=1)


def held(*lists: bytes, hard_fail: bool = True) -> Crls:
    crls = Crls(SYSTEM_CLOCK, hard_fail=hard_fail)
    for content in lists:
        assert crls.take(read_crl(content, ISSUERS, "test"))
    return crls


def test_a_certificate_on_the_list_of_its_ca_is_refused() -> None:
    crls = held(CA.crl(ADAS))
    with pytest.raises(CertificateRevoked):
        crls.check(peer_of(ADAS))
    crls.check(peer_of(EVES))


def test_a_list_is_read_as_der_too() -> None:
    der = x509.load_pem_x509_crl(CA.crl(ADAS)).public_bytes(Encoding.DER)
    assert read_crl(der, ISSUERS, "test").revoked == {ADAS.serial_number}


def test_the_list_of_one_ca_says_nothing_of_another() -> None:
    crls = held(CA.crl(ADAS), OTHER_CA.crl())
    crls.check(OTHER_CA.peer("ada"))
    with pytest.raises(CertificateStatusUnknown):
        crls.check(IMPOSTOR.peer("ada"))


@pytest.mark.parametrize("hard_fail", [True, False])
def test_without_a_current_list_the_setting_decides(*, hard_fail: bool) -> None:
    expired = CA.crl(ADAS, made=SYSTEM_CLOCK.now() - 2 * HOUR, lifetime=HOUR)
    for crls in (held(hard_fail=hard_fail), held(expired, hard_fail=hard_fail)):
        if hard_fail:
            with pytest.raises(CertificateStatusUnknown):
                crls.check(peer_of(EVES))
        else:
            crls.check(peer_of(EVES))
    with pytest.raises(CertificateRevoked):  # who is on an old list does not come off it by waiting
        held(expired, hard_fail=False).check(peer_of(ADAS))


def test_an_older_list_does_not_take_the_place_of_a_newer_one() -> None:
    crls = held(CA.crl(ADAS, number=7))
    assert not crls.take(read_crl(CA.crl(number=6), ISSUERS, "test"))
    with pytest.raises(CertificateRevoked):
        crls.check(peer_of(ADAS))
    assert crls.take(read_crl(CA.crl(number=8), ISSUERS, "test"))
    crls.check(peer_of(ADAS))


POINT = x509.IssuingDistributionPoint(None, None, False, True, None, False, False)
INDIRECT = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)


@pytest.mark.parametrize(
    "content",
    [
        IMPOSTOR.crl(),
        ClientCa("Unknown CA").crl(),
        CA.crl(extensions=((x509.DeltaCRLIndicator(1), True),)),
        CA.crl(extensions=((POINT, True),)),
        CA.crl(extensions=((INDIRECT, True),)),
        CA.crl()[:-80],
        b"",
        CA.pem,
    ],
    ids=["forged", "unknown", "delta", "partial", "indirect", "cut off", "empty", "no list"],
)
def test_a_list_that_must_not_be_believed_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(ConfigurationError, match="the CRL test"):
        read_crl(content, ISSUERS, "test")


_GOOD = x509.load_pem_x509_crl(CA.crl(ADAS)).public_bytes(Encoding.DER)


@given(st.one_of(
    st.binary(max_size=300),
    st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(0, 255)).map(
        lambda each: _GOOD[: each[0]] + bytes([each[1]]) + _GOOD[each[0] + 1 :]
    ),
))  # fmt: skip
def test_no_list_that_was_changed_counts(content: bytes) -> None:
    if content == _GOOD:
        return
    with pytest.raises(ConfigurationError):
        read_crl(content, ISSUERS, "test")


async def test_a_list_in_a_file_counts_a_second_after_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "clients.crl"
    file.write_bytes(CA.crl())
    crls, changed = Crls(SYSTEM_CLOCK), asyncio.Event()
    sources = CrlSources(str(file), crls, ISSUERS, Fetcher(), SYSTEM_CLOCK, refresh=60, changed=changed.set)
    crls.check(peer_of(ADAS))
    changed.clear()
    following = asyncio.create_task(sources.follow())
    file.write_bytes(CA.crl(ADAS, number=2))
    async with asyncio.timeout(5):
        await changed.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    with pytest.raises(CertificateRevoked):
        crls.check(peer_of(ADAS))


async def test_a_list_at_a_url_is_fetched_again_and_again() -> None:
    lists = [CA.crl(), b"nonsense", CA.crl(ADAS, number=2)]

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=lists.pop(0) if len(lists) > 1 else lists[0])

    crls, changed, fetcher = Crls(SYSTEM_CLOCK), asyncio.Event(), Fetcher()
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1
        if taken == 2:
            changed.set()

    async with serving(handle) as url:
        sources = CrlSources(url, crls, ISSUERS, fetcher, SYSTEM_CLOCK, refresh=0.01, changed=count)
        following = asyncio.create_task(sources.follow())
        async with asyncio.timeout(5):
            await changed.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    await fetcher.close()
    with pytest.raises(CertificateRevoked):
        crls.check(peer_of(ADAS))


async def test_what_is_fetched_is_bounded_and_goes_no_further() -> None:
    async def handle(request: web.Request) -> web.Response:
        if request.query_string == "far":
            return web.Response(status=302, headers={"Location": "http://169.254.169.254/"})
        return web.Response(body=b"x" * 100)

    fetcher = Fetcher()
    async with serving(handle) as url:
        assert await fetcher.get(url, 100) == b"x" * 100
        for address, limit in ((url, 99), (f"{url}?far", 100), ("file:///etc/passwd", 100)):
            with pytest.raises(UpstreamFailed):
                await fetcher.get(address, limit)
    await fetcher.close()


def test_a_source_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CLIENT_CRL"):
        CrlSources(str(tmp_path / "none.crl"), Crls(SYSTEM_CLOCK), ISSUERS, Fetcher(), SYSTEM_CLOCK, refresh=1)
    with pytest.raises(ConfigurationError, match="CLIENT_CRL"):
        check_url("CLIENT_CRL", "ldap://ca.example/crl")


def test_a_certificate_of_no_ca_that_is_known_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(CA.pem + OTHER_CA.pem)
    issuers = Issuers(read_issuers("CLIENT_CA_CERTS", bundle))
    issuers.check(peer_of(ADAS))
    for _ in range(2):
        with pytest.raises(CertificateRefused):
            issuers.check(IMPOSTOR.peer("ada"))
    issuers.take((OTHER_CA.certificate,))
    with pytest.raises(CertificateRefused):
        issuers.check(peer_of(ADAS))
    bundle.write_text("nonsense")
    with pytest.raises(ConfigurationError, match="CLIENT_CA_CERTS"):
        read_issuers("CLIENT_CA_CERTS", bundle)
