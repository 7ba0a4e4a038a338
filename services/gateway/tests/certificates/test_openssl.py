"""OpenSSL as the CA of clients: its OCSP responder and its CRLs, asked and read as in a deployment."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.ports import choose_free
from interlock_common.testing.waiting import until
from interlock_gateway.certificates.crl_sources import CrlSources
from interlock_gateway.certificates.crls import Crls
from interlock_gateway.certificates.errors import CertificateRevoked, CertificateStatusUnknown
from interlock_gateway.certificates.fetching import Fetcher
from interlock_gateway.certificates.issuers import Issuers, read_issuers
from interlock_gateway.certificates.ocsp import MAX_BYTES
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.certificates.statuses import OcspStatuses
from interlock_gateway.testing.certificates import peer_of

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
CONFIG = """
[ca]
default_ca = clients
[clients]
dir = .
database = index.txt
serial = serial
crlnumber = crlnumber
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = anything
x509_extensions = client
crl_extensions = crl
unique_subject = no
[anything]
commonName = supplied
[client]
authorityKeyIdentifier = keyid
extendedKeyUsage = clientAuth
[crl]
authorityKeyIdentifier = keyid
[req]
distinguished_name = nothing
[nothing]
"""


class OpenSslCa:
    """A CA in a folder, by the openssl command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "openssl.cnf").write_text(CONFIG)
        (directory / "index.txt").touch()
        for name in ("serial", "crlnumber"):
            (directory / name).write_text("1000\n")
        self.run(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=Clients",
            "-keyout", "ca.key", "-out", "ca.pem", "-days", "365", "-addext", "basicConstraints=critical,CA:true",
            "-addext", "subjectKeyIdentifier=hash",
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        command = ["openssl", *arguments]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def issue(self, name: str) -> PeerCertificate:
        self.run(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
            f"{name}.csr", "-config", "openssl.cnf",
        )  # fmt: skip
        self.run("ca", "-batch", "-config", "openssl.cnf", "-in", f"{name}.csr", "-out", f"{name}.pem", "-notext")
        return peer_of(x509.load_pem_x509_certificate((self.directory / f"{name}.pem").read_bytes()))

    def revoke(self, name: str) -> None:
        self.run("ca", "-config", "openssl.cnf", "-revoke", f"{name}.pem")

    def write_crl(self) -> None:
        self.run("ca", "-config", "openssl.cnf", "-gencrl", "-out", "new.crl")
        (self.directory / "new.crl").replace(self.directory / "clients.crl")

    @asynccontextmanager
    async def responder(self) -> AsyncGenerator[str]:
        """The address of an OCSP responder that reads the index for each question."""
        (port,) = choose_free(1)
        process = await asyncio.create_subprocess_exec(
            "openssl", "ocsp", "-port", str(port), "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem",
            "-rkey", "ca.key", "-nmin", "5", cwd=self.directory, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> OpenSslCa:
    return OpenSslCa(tmp_path_factory.mktemp("openssl"))


async def test_the_ocsp_responder_of_openssl_is_understood(ca: OpenSslCa) -> None:
    good, bad = ca.issue("good"), ca.issue("bad")
    ca.revoke("bad")
    issuers, fetcher = Issuers(read_issuers("CA_CERTS", ca.directory / "ca.pem")), Fetcher()
    async with ca.responder() as url:

        async def ask(address: str, question: bytes) -> bytes:
            return await fetcher.ask(address, question, MAX_BYTES)

        async def listens() -> bool:
            statuses = OcspStatuses(ask, issuers, SYSTEM_CLOCK, responder=url)
            await statuses.learn(good)
            try:
                statuses.check(good)
            except CertificateStatusUnknown:  # it does not listen yet
                return False
            return True

        async with asyncio.timeout(10):
            while not await listens():  # noqa: ASYNC110 - a responder tells nobody when it listens
                await asyncio.sleep(0.05)
        statuses = OcspStatuses(ask, issuers, SYSTEM_CLOCK, responder=url)
        await statuses.learn(bad)
        with pytest.raises(CertificateRevoked):
            statuses.check(bad)
        await statuses.stop()
    await fetcher.close()


async def test_the_crls_of_openssl_are_read_as_they_change(ca: OpenSslCa) -> None:
    leaving = ca.issue("leaving")
    ca.write_crl()
    crls, changed = Crls(SYSTEM_CLOCK), list[str]()
    issuers, fetcher = Issuers(read_issuers("CA_CERTS", ca.directory / "ca.pem")), Fetcher()
    file = str(ca.directory / "clients.crl")
    sources = CrlSources(file, crls, issuers, fetcher, SYSTEM_CLOCK, refresh=60)
    crls.check(leaving)
    sources.changed = lambda: changed.append("taken")
    following = asyncio.create_task(sources.follow())
    ca.revoke("leaving")
    ca.write_crl()
    await until(lambda: bool(changed), 5)
    with pytest.raises(CertificateRevoked):
        crls.check(leaving)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
