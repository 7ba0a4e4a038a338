"""The real listener: services enrol and enrol again over TLS, as EST clients do."""

import asyncio
import base64
import ssl
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from interlock_certs import api
from interlock_certs.errors import JoinRefused
from interlock_certs.models import IssuedCertificate
from interlock_common.database import transaction
from interlock_common.enrolment import enrol
from interlock_common.errors import Unauthenticated, Unavailable
from interlock_common.identity import Identity
from interlock_common.testing.pki import ScratchAuthority
from interlock_common.testing.waiting import until

DOMAIN = "interlock.test"
EST = "/.well-known/est"
ENROL, REENROL = f"{EST}/simpleenroll", f"{EST}/simplereenroll"
PKCS10 = {"Content-Type": "application/pkcs10"}


def basic(name: str, token: str) -> dict[str, str]:
    return {**PKCS10, "Authorization": aiohttp.encode_basic_auth(name, token)}


def certificates(answer: bytes) -> list[x509.Certificate]:
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))


class Client:
    """An EST client with a key and, once it has enrolled, a certificate."""

    def __init__(self, front: Any, identity: str, names: tuple[x509.GeneralName, ...] = ()) -> None:
        self.front = front
        self.identity = identity
        self.names = names
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.leaf: x509.Certificate | None = None

    def request(self, subject: x509.Name | None = None, names: Any = None) -> bytes:
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject or x509.Name([]))
        wished = self.names if names is None else tuple(names)
        if wished:
            builder = builder.add_extension(x509.SubjectAlternativeName(wished), critical=False)
        return base64.encodebytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER))

    def renewal(self) -> bytes:
        """A request for what the present certificate says."""
        assert self.leaf is not None
        san = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return self.request(self.leaf.subject, san)

    async def enrol(self) -> x509.Certificate:
        token = self.front.token(self.identity)
        status, answer = await self.post(ENROL, self.request(), basic(self.identity, token), show=False)
        assert status == 200, answer
        [self.leaf] = certificates(answer)
        return self.leaf

    async def post(
        self, path: str, body: bytes, headers: dict[str, str] = PKCS10, *, show: bool = True
    ) -> tuple[int, bytes]:
        context = self.front.trust
        if show:
            self.shown(context)
        async with self.front.session(context) as http, http.post(path, data=body, headers=headers) as response:
            return response.status, await response.read()

    def shown(self, context: ssl.SSLContext) -> None:
        assert self.leaf is not None
        folder: Path = self.front.directory
        chain = self.leaf.public_bytes(Encoding.PEM) + self.front.authority.certificates[0].public_bytes(Encoding.PEM)
        (folder / "shown.pem").write_bytes(chain)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "shown.key").write_bytes(key)
        context.load_cert_chain(folder / "shown.pem", folder / "shown.key")


async def test_a_service_enrols_and_has_an_identity(front: Any) -> None:
    identity = front.identity()
    await enrol(identity, front.url, front.directory / "join/auth", timeout=5)
    assert identity.is_usable()
    assert identity.client_context()
    assert len(x509.load_pem_x509_certificates(identity.cert_path.read_bytes())) == 2  # without the root


async def test_services_that_race_for_a_token_all_enrol(front: Any) -> None:
    replicas = [Identity("auth", DOMAIN, front.directory / f"auth-{number}") for number in range(4)]
    join = front.directory / "join/auth"
    await asyncio.gather(*(enrol(replica, front.url, join, timeout=20) for replica in replicas))
    assert all(replica.is_usable() for replica in replicas)
    assert len({replica.leaf.serial_number for replica in replicas}) == 4


async def test_a_refused_join_says_so_when_the_time_is_over(front: Any) -> None:
    join = front.directory / "join/auth"
    (join / "token").write_text("nonsense")
    with pytest.raises(Unauthenticated, match="the join token does not count"):
        await enrol(front.identity(), front.url, join, timeout=0.3)
    with pytest.raises(Unavailable, match="does not answer"):
        await enrol(front.identity(), "https://127.0.0.1:9", join, timeout=0.3)
    assert not front.identity().directory.exists()


async def test_cacerts_answers_the_chain_of_the_authority(front: Any) -> None:
    async with front.session() as http, http.get(f"{EST}/cacerts") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
        found = certificates(await response.read())
    names = {certificate.subject.rfc4514_string() for certificate in found}
    assert names == {f"CN=Interlock Root CA,O={DOMAIN}", f"CN=Interlock Issuing CA,O={DOMAIN}"}


async def test_csrattrs_says_which_key_is_wanted(front: Any) -> None:
    async with front.session() as http, http.get(f"{EST}/csrattrs") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/csrattrs"
        assert response.headers["Content-Transfer-Encoding"] == "base64"
        der = base64.b64decode(await response.read())
    (front.directory / "attributes.der").write_bytes(der)
    command = ["openssl", "asn1parse", "-inform", "DER", "-in", str(front.directory / "attributes.der")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    parsed = (await process.communicate())[0].decode()
    assert [word for word in parsed.split() if word.startswith(":")] == [
        ":id-ecPublicKey", ":prime256v1", ":ecdsa-with-SHA256"
    ]  # fmt: skip


async def test_enrolling_answers_the_leaf_and_nothing_else(front: Any) -> None:
    headers = {**PKCS10, "Authorization": f"Bearer {front.token()}"}
    client = Client(front, "auth")
    async with front.session() as http, http.post(ENROL, data=client.request(), headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
        assert response.headers["Content-Transfer-Encoding"] == "base64"
        [leaf] = certificates(await response.read())
    assert leaf.public_key() == client.key.public_key()


async def test_names_of_the_profile_are_enrolled_and_others_refused(front: Any) -> None:
    host = x509.DNSName("gateway.example.com")
    used = front.token("nginx")
    leaf = await Client(front, "nginx", (host,)).enrol()
    await until(lambda: front.token("nginx") != used)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == ["gateway.example.com"]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc >= timedelta(days=30)
    other = Client(front, "nginx", (x509.UniformResourceIdentifier(f"spiffe://{DOMAIN}/svc/auth"),))
    headers = basic("nginx", front.token("nginx"))
    status, answer = await other.post(ENROL, other.request(), headers, show=False)
    assert (status, b"that is the name of another identity" in answer) == (400, True)


async def test_who_shows_its_certificate_enrols_again(front: Any) -> None:
    client = Client(front, "nginx", (x509.DNSName("gateway.example.com"),))
    first = await client.enrol()
    client_key, client.key = client.key, ec.generate_private_key(ec.SECP384R1())
    body, new_key = client.renewal(), client.key
    client.key = client_key
    status, answer = await client.post(REENROL, body)
    assert status == 200, answer
    [second] = certificates(answer)
    assert second.public_key() == new_key.public_key()
    assert (second.subject, second.serial_number != first.serial_number) == (first.subject, True)
    assert [renewal for _, renewal in front.announcer.leaves][-2:] == [False, True]


async def test_re_enrolling_is_for_the_same_names(front: Any) -> None:
    client = Client(front, "nginx", (x509.DNSName("gateway.example.com"),))
    leaf = await client.enrol()
    san = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    for subject, names in (
        (leaf.subject, [*san, x509.DNSName("shop.example.com")]),
        (leaf.subject, san[:1]),
        (leaf.subject, []),
        (None, san),
    ):
        status, answer = await client.post(REENROL, client.request(subject, names))
        assert (status, b"must be those of the certificate it replaces" in answer) == (400, True)


async def test_re_enrolling_needs_a_certificate(front: Any) -> None:
    client = Client(front, "auth")
    headers = basic("auth", front.token())
    status, answer = await client.post(REENROL, client.request(), headers, show=False)
    assert (status, b"shown in the TLS handshake" in answer) == (401, True)


async def test_a_revoked_certificate_does_not_enrol_again(front: Any) -> None:
    client = Client(front, "auth")
    leaf = await client.enrol()
    async with transaction(front.engine) as session:
        revoked = update(IssuedCertificate).where(IssuedCertificate.serial == f"{leaf.serial_number:x}")
        await session.execute(revoked.values(revoked_at=1, reason="key_compromise"))
    status, answer = await client.post(REENROL, client.renewal())
    assert (status, b"it is revoked, or certs does not know it" in answer) == (401, True)


async def test_a_certificate_of_another_ca_ends_at_the_handshake(front: Any) -> None:
    key, chain = ScratchAuthority().issue(spiffe=f"spiffe://{DOMAIN}/svc/auth")
    (front.directory / "foreign.pem").write_bytes(chain + key)
    context = front.trust
    context.load_cert_chain(front.directory / "foreign.pem")
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, OSError)):
        async with front.session(context) as http, http.post(REENROL, data=b"", headers=PKCS10) as response:
            await response.read()


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic %%%", "Basic bm90aGluZw==", "Bearer", "Digest x", "Basic \xfc\xfc", "Bearer \xfc"]
)
async def test_no_credential_is_401_with_a_challenge(front: Any, header: str) -> None:
    headers = {**PKCS10, "Authorization": header} if header else PKCS10
    body = Client(front, "auth").request()
    async with front.session() as http, http.post(ENROL, data=body, headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert (await response.json(content_type="application/problem+json"))["title"] == "join refused"


async def test_what_is_not_served_is_a_problem_document(front: Any) -> None:
    async with front.session() as http:
        for method, path, status in (
            ("GET", "/nothing", 404), ("GET", ENROL, 405), ("POST", f"{EST}/cacerts", 405), ("GET", "/health", 200),
            ("POST", f"{EST}/serverkeygen", 501), ("POST", f"{EST}/fullcmc", 501),
        ):  # fmt: skip
            async with http.request(method, path) as response:
                assert response.status == status
                if status != 200:
                    assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("announced", ["", "text/plain", "application/x-www-form-urlencoded", "application/pkcs7-mime"])
async def test_a_body_that_is_not_announced_as_a_request_is_refused(front: Any, announced: str) -> None:
    headers = {**basic("auth", front.token()), "Content-Type": announced}
    body = Client(front, "auth").request()
    async with front.session() as http, http.post(ENROL, data=body, headers=headers) as response:
        assert response.status == 415
        assert "application/pkcs10" in (await response.json(content_type="application/problem+json"))["detail"]


async def test_pem_says_which_lines_are_too_many(front: Any) -> None:
    pem = x509.load_der_x509_csr(base64.b64decode(Client(front, "auth").request())).public_bytes(Encoding.PEM)
    headers = basic("auth", front.token())
    async with front.session() as http, http.post(ENROL, data=pem, headers=headers) as response:
        assert (response.status, "without the lines BEGIN and END" in await response.text()) == (400, True)


async def test_a_body_over_the_bound_is_refused(front: Any) -> None:
    headers = basic("auth", front.token())
    async with front.session() as http, http.post(ENROL, data=b"A" * (64 * 1024 + 1), headers=headers) as response:
        assert response.status == 413


async def test_a_body_that_does_not_arrive_is_not_waited_for(front: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_BODY_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=front.trust)
    authorization = basic("auth", front.token())["Authorization"]
    head = f"POST {ENROL} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n"
    writer.write(f"{head}Content-Type: application/pkcs10\r\nContent-Length: 500\r\n\r\nMII".encode())
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n")
    assert answer.startswith(b"HTTP/1.1 504")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@given(header=st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: "Basic " + base64.b64encode(raw).decode()))
def test_whatever_a_credential_looks_like_it_is_read_or_refused(header: str) -> None:
    try:
        identity, token = api._credentials(header)  # pyright: ignore[reportPrivateUsage]
    except JoinRefused:
        return
    assert token or identity is not None


VALID = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([]))
    .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    .public_bytes(Encoding.DER)
)
DAMAGED = (
    st.tuples(st.integers(0, len(VALID) - 1), st.binary(min_size=1, max_size=4))
    .map(lambda damage: VALID[: damage[0]] + damage[1] + VALID[damage[0] + len(damage[1]) :])
    .filter(lambda damaged: damaged != VALID)
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(garbage=b"", encoded=False, path=ENROL)
@example(garbage=b"\x30\x84\xff\xff\xff\xff", encoded=True, path=ENROL)
@given(garbage=st.binary(max_size=256) | DAMAGED, encoded=st.booleans(), path=st.sampled_from([ENROL, REENROL]))
async def test_garbage_is_refused_and_never_500(front: Any, garbage: bytes, *, encoded: bool, path: str) -> None:
    data = base64.b64encode(garbage) if encoded else garbage
    headers = basic("auth", front.token())
    async with front.session() as http, http.post(path, data=data, headers=headers) as response:
        assert response.status == (401 if path == REENROL else 400)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=DAMAGED | st.binary(max_size=64))
async def test_garbage_of_someone_with_a_certificate_is_400_and_never_500(front: Any, garbage: bytes) -> None:
    client = Client(front, "auth")
    client.leaf = front.own.identity.leaf
    client.key = _key_of(front.own.identity)
    status, _ = await client.post(REENROL, base64.b64encode(garbage))
    assert status == 400


def _key_of(identity: Identity) -> Any:
    return load_pem_private_key(identity.key_path.read_bytes(), None)


async def test_the_listener_shows_its_new_certificate_to_the_next_connection(front: Any) -> None:
    async def serial() -> int:
        _, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=front.trust)
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return x509.load_der_x509_certificate(shown).serial_number

    async def status(http: aiohttp.ClientSession) -> int:
        async with http.get("/health") as response:
            await response.read()
            return response.status

    async with front.session() as http:
        assert await status(http) == 200
        before = await serial()
        await front.own.renew()
        await front.server.renewed()
        assert await serial() == front.own.identity.leaf.serial_number != before
        assert await status(http) == 200  # an open connection goes on
