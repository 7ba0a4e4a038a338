"""EST clients that others wrote: curl with openssl, and strongSwan's pki."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

CERTS = "application/pkcs7-mime; smime-type=certs-only"
needs_strongswan = pytest.mark.skipif(shutil.which("pki") is None, reason="apt install strongswan-pki")


class Shell:
    """A client's folder, and the commands that run in it."""

    def __init__(self, directory: Path, front: Any) -> None:
        directory.mkdir()
        self.directory = directory
        (directory / "root.pem").write_bytes(front.authority.bundle_pem)
        self.est = f"{front.url}/.well-known/est"

    async def __call__(self, *command: str, stdin: bytes = b"", fails: bool = False) -> str:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=self.directory, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(60):
            output = (await process.communicate(stdin))[0]
        assert (process.returncode != 0) == fails, output.decode(errors="replace")
        return output.decode(errors="replace")

    async def curl(self, path: str, *options: str) -> str:
        return await self("curl", "-sS", "--cacert", "root.pem", *options, f"{self.est}/{path}")

    def leaf(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.directory / name).read_bytes())


@pytest.fixture
def shell(front: Any) -> Shell:
    return Shell(front.directory / "client", front)


async def request(shell: Shell, name: str, *options: str) -> None:
    """A new key and a request in the form of EST: base64 without the lines BEGIN and END."""
    await shell("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
                "-keyout", f"{name}.key", "-outform", "DER", "-out", f"{name}.der", *options)  # fmt: skip
    await shell("openssl", "base64", "-in", f"{name}.der", "-out", f"{name}.b64")


async def unpack(shell: Shell, name: str) -> x509.Certificate:
    await shell("openssl", "base64", "-d", "-A", "-in", f"{name}.p7", "-out", f"{name}.p7.der")
    await shell("openssl", "pkcs7", "-inform", "DER", "-in", f"{name}.p7.der", "-print_certs", "-out", f"{name}.pem")
    return shell.leaf(f"{name}.pem")


async def test_curl_and_openssl_enrol_and_enrol_again(front: Any, shell: Shell) -> None:
    assert "pkcs7" in await shell.curl("cacerts", "-o", "cas.p7", "-D", "-")
    await unpack(shell, "cas")
    await request(shell, "first", "-subj", "/CN=nginx", "-addext", "subjectAltName=DNS:gateway.example.com")
    said = await shell.curl(
        "simpleenroll", "--user", f"nginx:{front.token('nginx')}", "--data-binary", "@first.b64",
        "-H", "Content-Type: application/pkcs10", "-o", "first.p7", "-D", "-",
    )  # fmt: skip
    assert "200 OK" in said
    assert f"content-type: {CERTS}" in said
    first = await unpack(shell, "first")
    assert "first.pem: OK" in await shell(
        "openssl", "verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "cas.pem", "first.pem"
    )
    await shell("sh", "-c", "cat first.pem cas.pem > chain.pem")
    names = "subjectAltName=critical,URI:spiffe://interlock.test/svc/nginx,DNS:gateway.example.com"
    await request(shell, "second", "-subj", "/CN=nginx", "-addext", names)
    said = await shell.curl(
        "simplereenroll", "--cert", "chain.pem", "--key", "first.key", "--data-binary", "@second.b64",
        "-H", "Content-Type: application/pkcs10", "-o", "second.p7", "-D", "-",
    )  # fmt: skip
    assert "200 OK" in said, said + (shell.directory / "second.p7").read_text()
    second = await unpack(shell, "second")
    assert second.subject == first.subject
    assert second.public_key() != first.public_key()


async def test_curl_learns_in_words_what_is_wrong(front: Any, shell: Shell) -> None:
    await request(shell, "first", "-subj", "/", "-addext", "subjectAltName=DNS:bus.example.com")
    token = front.token()
    sent = ("--data-binary", "@first.b64", "-H", "Content-Type: application/pkcs10")
    assert "join token does not count" in await shell.curl("simpleenroll", "--user", "auth:guess", *sent)
    own = ("--user", f"auth:{token}")
    assert "auth may not be called 'bus.example.com'" in await shell.curl("simpleenroll", *own, *sent)
    assert "must be announced as Content-Type" in await shell.curl("simpleenroll", *own, *sent[:2])


@needs_strongswan
async def test_strongswan_enrols_and_enrols_again(front: Any, shell: Shell) -> None:
    await shell("pki", "--estca", "--url", front.url, "--cacert", "root.pem", "--caout", "ca.pem", "--outform", "pem")
    cas = {shell.leaf(file.name).subject.rfc4514_string() for file in shell.directory.glob("ca*.pem")}
    assert cas == {f"CN=Interlock {which} CA,O=interlock.test" for which in ("Root", "Issuing")}
    trust = ("--cacert", "root.pem", "--cacert", "ca-1.pem")
    host = "gateway.example.com"
    await shell("sh", "-c", "pki --gen --type ecdsa --size 256 --outform pem > first.key")
    await shell("sh", "-c", f"pki --req --type ecdsa --in first.key --dn CN=nginx --san {host} > first.der")
    await shell("sh", "-c", f"pki --est --url {front.url} --in first.der {' '.join(trust)} "
                f"--userpass nginx:{front.token('nginx')} --outform pem > first.pem")  # fmt: skip
    first = shell.leaf("first.pem")
    await shell("sh", "-c", "pki --gen --type ecdsa --size 384 --outform pem > second.key")
    # strongSwan puts no URI name into a request, and re-enrolling asks for the very names of the certificate
    names = f"subjectAltName=URI:spiffe://interlock.test/svc/nginx,DNS:{host}"
    await shell("openssl", "req", "-new", "-key", "second.key", "-outform", "DER", "-out", "second.der",
                "-subj", "/CN=nginx", "-addext", names)  # fmt: skip
    await shell("sh", "-c", f"pki --est --url {front.url} --in second.der {' '.join(trust)} "
                "--cert first.pem --key first.key --outform pem > second.pem")  # fmt: skip
    second = shell.leaf("second.pem")
    assert (second.subject, second.public_key() != first.public_key()) == (first.subject, True)
