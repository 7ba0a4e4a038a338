"""CRLs and OCSP as others see them: openssl asks the plain listener."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import status_api
from interlock_certs.authority import Authority, Leaf
from interlock_certs.plan import Lifetimes, Plan
from interlock_certs.testing import ADMIN, DAY, DOMAIN, CaWorld
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.certs import RevokeLeaf, RotateAuthority
from interlock_common.testing.bus import free_port
from interlock_common.testing.waiting import until

_PEM = Encoding.PEM


@dataclass
class Status:
    """A running listener, and the files that openssl is given."""

    ca: CaWorld
    directory: Path
    url: str

    def written(self, name: str, *certificates: x509.Certificate) -> str:
        path = self.directory / name
        path.write_bytes(b"".join(certificate.public_bytes(_PEM) for certificate in certificates))
        return str(path)

    async def ocsp(self, leaf: Leaf, *arguments: str) -> str:
        issuer = self.written("issuer.pem", leaf.issuer)
        trust = self.written("trust.pem", self.ca.generations.active.root, leaf.issuer)
        return await openssl("ocsp", "-issuer", issuer, "-cert", self.written("leaf.pem", leaf.certificate),
                             "-url", f"{self.url}/ocsp", "-CAfile", trust, *arguments)  # fmt: skip


async def openssl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "openssl", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(20):
        said, _ = await process.communicate()
    return said.decode()


@pytest.fixture
async def status(tmp_path: Path, engine: AsyncEngine) -> AsyncGenerator[Status]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    ca = CaWorld(tmp_path, engine, SYSTEM_CLOCK, url)
    await ca.generations.load()
    server = status_api.StatusListener(
        status_api.create_app(status_api.router(ca.generations, ca.crls, ca.ocsp, SYSTEM_CLOCK))
    )
    socket = status_api.listen("127.0.0.1", port)
    serving = asyncio.create_task(server.serve(sockets=[socket]))
    yield Status(ca, tmp_path, url)
    server.should_exit = True
    await serving
    socket.close()


async def test_openssl_believes_the_responder_with_and_without_a_nonce(status: Status) -> None:
    leaf = await status.ca.issue("auth")
    for nonce in ("-nonce", "-no_nonce"):
        said = await status.ocsp(leaf, nonce)
        assert "Response verify OK" in said
        assert "leaf.pem: good" in said
        assert "Nonce" not in said


async def test_openssl_hears_of_a_revocation_at_once_and_why(status: Status) -> None:
    leaf = await status.ca.issue("auth")
    assert "leaf.pem: good" in await status.ocsp(leaf, "-no_nonce")
    await status.ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, leaf.serial, "key_compromise"))
    said = await status.ocsp(leaf, "-no_nonce")
    assert "Response verify OK" in said
    assert "leaf.pem: revoked" in said
    assert "Reason: keyCompromise" in said


async def test_a_certificate_that_was_never_issued_is_unknown(status: Status) -> None:
    leaf = await status.ca.issue("auth")
    issuer = status.written("issuer.pem", leaf.issuer)
    trust = status.written("trust.pem", status.ca.generations.active.root, leaf.issuer)
    said = await openssl("ocsp", "-issuer", issuer, "-serial", "0x1234", "-url", f"{status.url}/ocsp", "-CAfile", trust)
    assert "0x1234: unknown" in said


async def test_the_responder_answers_for_a_ca_that_retires(status: Status) -> None:
    leaf = await status.ca.issue("auth")
    trust = status.written("old.pem", status.ca.generations.active.root, leaf.issuer)
    for step in ("prepare", "activate"):
        await status.ca.rotation.take(RotateAuthority(ADMIN, step))
    assert "leaf.pem: good" in await status.ocsp(leaf, "-CAfile", trust)


async def test_openssl_verifies_a_chain_by_the_crl_that_the_leaf_points_to(status: Status) -> None:
    kept, revoked = await status.ca.issue("auth"), await status.ca.issue("gateway")
    await status.ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, revoked.serial))
    (point,) = kept.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    (name,) = list(point.full_name or ())
    async with aiohttp.ClientSession() as http, http.get(name.value) as answer:
        assert answer.content_type == "application/pkix-crl"
        crl = x509.load_der_x509_crl(await answer.read())
    (status.directory / "crl.pem").write_bytes(crl.public_bytes(_PEM))
    root = status.written("root.pem", status.ca.generations.active.root)
    for leaf, verdict in ((kept, "leaf.pem: OK"), (revoked, "certificate revoked")):
        said = await openssl(
            "verify", "-crl_check", "-CRLfile", str(status.directory / "crl.pem"), "-CAfile", root,
            "-untrusted", status.written("issuer.pem", leaf.issuer), status.written("leaf.pem", leaf.certificate),
        )  # fmt: skip
        assert verdict in said


async def test_crls_are_files_too_renewed_at_each_revocation(status: Status) -> None:
    leaf = await status.ca.issue("auth")
    issuer = status.ca.generations.issuers[0].key_id
    keeping = asyncio.create_task(status.ca.crls.keep_written())
    file = status.directory / "crl" / "crl.pem"
    try:
        await until(file.exists)
        await status.ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, leaf.serial))
        await until(lambda: bool(list(x509.load_pem_x509_crl(file.read_bytes()))))
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert (status.directory / "crl" / f"{issuer}.crl").read_bytes() == await status.ca.crls.of(issuer)


async def test_a_leaf_points_to_its_issuer_and_its_responder(status: Status) -> None:
    leaf = await status.ca.issue("auth")
    access = leaf.certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    responder, issuer = (one.access_location.value for one in access)
    assert responder == f"{status.url}/ocsp"
    async with aiohttp.ClientSession() as http, http.get(issuer) as answer:
        assert x509.load_der_x509_certificate(await answer.read()) == leaf.issuer


def asked(leaf: Leaf, algorithm: hashes.HashAlgorithm, nonce: bytes | None = None) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf.certificate, leaf.issuer, algorithm)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "algorithm",
    [hashes.SHA1(), hashes.SHA256(), hashes.SHA384()],  # noqa: S303 - what RFC 5019 clients name certificates by
    ids=lambda one: one.name,
)
async def test_get_is_answered_and_may_be_kept_by_caches(status: Status, algorithm: hashes.HashAlgorithm) -> None:
    leaf = await status.ca.issue("auth")
    encoded = quote(base64.b64encode(asked(leaf, algorithm)).decode(), safe="")
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{status.url}/ocsp/{encoded}") as answer:
            first = await answer.read()
            assert answer.headers["Cache-Control"].startswith("max-age=")
        async with http.get(f"{status.url}/ocsp/{encoded}") as answer:
            assert await answer.read() == first
    response = ocsp.load_der_ocsp_response(first)
    assert response.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert response.next_update_utc is not None


async def test_a_nonce_comes_back_and_such_an_answer_is_not_kept(status: Status) -> None:
    leaf = await status.ca.issue("auth")
    nonce = bytes(range(32))
    answer = await status.ca.ocsp.answer(asked(leaf, hashes.SHA256(), nonce))
    response = ocsp.load_der_ocsp_response(answer.der)
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == nonce
    assert answer.fresh_until is None


async def test_who_asks_about_another_ca_is_not_answered(status: Status, tmp_path: Path) -> None:
    authority = Authority.open(tmp_path / "other", Plan(DOMAIN, Lifetimes(DAY, DAY)), SYSTEM_CLOCK)
    leaf = await status.ca.issue("auth")
    foreign = ocsp.OCSPRequestBuilder().add_certificate(leaf.certificate, authority.issuer.certificate, hashes.SHA256())
    answer = await status.ca.ocsp.answer(foreign.build().public_bytes(Encoding.DER))
    assert ocsp.load_der_ocsp_response(answer.der).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


async def test_what_is_too_long_is_malformed(status: Status) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{status.url}/ocsp", data=b"\x30" * 100_000) as answer:
        response = ocsp.load_der_ocsp_response(await answer.read())
    assert response.response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.binary(min_size=1, max_size=60).map(lambda tail: b"\x30\x82" + tail))
async def test_no_body_breaks_the_responder(status: Status, body: bytes) -> None:
    answer = await status.ca.ocsp.answer(body)
    assert ocsp.load_der_ocsp_response(answer.der).response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL
