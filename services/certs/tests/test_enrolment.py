"""The real listener: a service enrols over TLS, as EST clients do."""

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock_certs.api import create_app
from interlock_certs.authority import Authority, Lifetimes
from interlock_certs.issuing import Issuing
from interlock_certs.joining import JoinDrops
from interlock_certs.listener import Listener, listen
from interlock_certs.models import Base
from interlock_certs.own import OwnIdentity
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.database import open_engine
from interlock_common.enrolment import enrol
from interlock_common.errors import Unauthenticated, Unavailable
from interlock_common.identity import Identity
from interlock_common.tls import client_context

DOMAIN = "interlock.test"
DAY = timedelta(days=1)
ENROL = "/.well-known/est/simpleenroll"


class Silent:
    async def issued(self, leaf: Any, *, renewal: bool) -> None:
        """Nobody is told."""


class Front:
    """A running enrolment listener."""

    def __init__(self, directory: Path, url: str, own: OwnIdentity, server: Listener) -> None:
        self.directory = directory
        self.url = url
        self.own = own
        self.server = server

    @property
    def trust(self) -> ssl.SSLContext:
        return client_context(self.directory / "join/auth/bundle.pem")

    def token(self) -> str:
        return (self.directory / "join/auth/token").read_text()

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(self.url, connector=aiohttp.TCPConnector(ssl=self.trust))

    def identity(self) -> Identity:
        return Identity("auth", DOMAIN, self.directory / "auth")


@pytest.fixture
async def front(tmp_path: Path) -> AsyncGenerator[Front]:
    engine = open_engine(f"sqlite:///{tmp_path / 'certs.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    authority = Authority.open(tmp_path / "ca", DOMAIN, Lifetimes(3650 * DAY, 365 * DAY), SYSTEM_CLOCK)
    drops = JoinDrops(engine, tmp_path / "join", ("auth",), 300, SYSTEM_CLOCK)
    await drops.project(authority.bundle_pem)
    issuing = Issuing(authority, drops, engine, Silent(), DAY, SYSTEM_CLOCK)
    identity = Identity("certs", DOMAIN, tmp_path / "listener")
    own = OwnIdentity(issuing, identity, authority.bundle_pem, DAY, SYSTEM_CLOCK, ("localhost", "127.0.0.1"))
    await own.ensure()
    server, socket = Listener(create_app(authority, issuing), identity), listen("127.0.0.1", 0)
    tasks = [asyncio.create_task(server.serve(sockets=[socket])), asyncio.create_task(drops.keep_fresh())]
    yield Front(tmp_path, f"https://127.0.0.1:{socket.getsockname()[1]}", own, server)
    server.should_exit = True
    await tasks[0]
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await engine.dispose()


def body() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return base64.encodebytes(csr.public_bytes(Encoding.DER))


def basic(name: str, token: str) -> dict[str, str]:
    return {"Authorization": aiohttp.encode_basic_auth(name, token)}


async def test_a_service_enrols_and_has_an_identity(front: Front) -> None:
    identity = front.identity()
    await enrol(identity, front.url, front.directory / "join/auth", timeout=5)
    assert identity.is_usable()
    assert identity.client_context()


async def test_services_that_race_for_a_token_all_enrol(front: Front) -> None:
    replicas = [Identity("auth", DOMAIN, front.directory / f"auth-{number}") for number in range(4)]
    join = front.directory / "join/auth"
    await asyncio.gather(*(enrol(replica, front.url, join, timeout=20) for replica in replicas))
    assert all(replica.is_usable() for replica in replicas)
    assert len({replica.leaf.serial_number for replica in replicas}) == 4


async def test_a_refused_join_says_so_when_the_time_is_over(front: Front) -> None:
    join = front.directory / "join/auth"
    (join / "token").write_text("nonsense")
    with pytest.raises(Unauthenticated, match="the join token does not count"):
        await enrol(front.identity(), front.url, join, timeout=0.3)
    with pytest.raises(Unavailable, match="does not answer"):
        await enrol(front.identity(), "https://127.0.0.1:9", join, timeout=0.3)
    assert not front.identity().directory.exists()


async def test_cacerts_answers_the_chain_of_the_authority(front: Front) -> None:
    async with front.session() as http, http.get("/.well-known/est/cacerts") as response:
        assert response.status == 200
        assert response.content_type == "application/pkcs7-mime"
        found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(await response.read()))
    names = {certificate.subject.rfc4514_string() for certificate in found}
    assert names == {f"CN=Interlock Root CA,O={DOMAIN}", f"CN=Interlock Issuing CA,O={DOMAIN}"}


async def test_a_bearer_token_enrols_too(front: Front) -> None:
    headers = {"Authorization": f"Bearer {front.token()}"}
    async with front.session() as http, http.post(ENROL, data=body(), headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Transfer-Encoding"] == "base64"


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic %%%", "Basic bm90aGluZw==", "Bearer", "Digest x", "Basic \xfc\xfc", "Bearer \xfc"]
)
async def test_no_credential_is_401_with_a_challenge(front: Front, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    async with front.session() as http, http.post(ENROL, data=body(), headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert (await response.json(content_type="application/problem+json"))["title"] == "join refused"


async def test_what_is_not_served_is_a_problem_document(front: Front) -> None:
    async with front.session() as http:
        for method, path, status in (("GET", "/nothing", 404), ("GET", ENROL, 405), ("GET", "/health", 200)):
            async with http.request(method, path) as response:
                assert response.status == status
                if status != 200:
                    assert response.content_type == "application/problem+json"


async def test_a_body_over_the_bound_is_refused(front: Front) -> None:
    headers = basic("auth", front.token())
    async with front.session() as http, http.post(ENROL, data=b"A" * (64 * 1024 + 1), headers=headers) as response:
        assert response.status == 413


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=256), encoded=st.booleans())
async def test_garbage_is_400_and_never_500(front: Front, garbage: bytes, *, encoded: bool) -> None:
    data = base64.b64encode(garbage) if encoded else garbage
    headers = basic("auth", front.token())
    async with front.session() as http, http.post(ENROL, data=data, headers=headers) as response:
        assert response.status == 400


async def test_the_listener_shows_its_new_certificate_to_the_next_connection(front: Front) -> None:
    port = int(front.url.rpartition(":")[2])

    async def serial() -> int:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=front.trust)
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
