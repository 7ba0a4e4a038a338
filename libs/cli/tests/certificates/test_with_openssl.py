"""What others make of our certificates: OpenSSL's verification and text, and handshakes of s_server, s_client, curl."""

import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_cli.certificates import form
from interlock_cli.certificates.authority import open_authority, signing_hash
from interlock_cli.certificates.below import Branch
from interlock_cli.certificates.errors import AuthorityUnusable
from interlock_cli.certificates.files import Writing
from interlock_cli.certificates.form import Leaf, Purpose, Validity
from interlock_cli.certificates.front import alternative_names
from interlock_cli.certificates.keys import KeyForm, KeyType
from interlock_cli.certificates.workshop import Workshop

CA = "certs/mcp/ca/ca.crt"
SERVER = "certs/mcp/plugins/a/server"
CLIENT = "certs/mcp/gateway/client"
MISMATCH = 60  # curl: the certificate cannot be verified


@contextmanager
def s_server(folder: Path, *options: str, host: str = "127.0.0.1") -> Generator[int]:
    """``openssl s_server -www`` on a free port."""
    command = ["openssl", "s_server", "-accept", f"{host}:0", "-www", *options]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        stop = threading.Timer(30, process.kill)
        stop.start()
        try:
            assert process.stdout is not None
            said = next((line for line in process.stdout if line.startswith("ACCEPT")), "")
            match = re.search(r":(\d+)$", said.strip())
            assert match, "s_server does not listen"
            yield int(match[1])
        finally:
            stop.cancel()
            process.kill()


def curl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384"])
def test_openssl_verifies_every_chain_strictly(certs: Any, openssl: Any, kind: str) -> None:
    for command in (("front",), ("mcp-gateway",), ("mcp-plugin", "a"), ("mtls",), ("client", "ada@example.com")):
        assert certs(*command, KEY_TYPE=kind, KEY_SIZE="2048").exit_code == 0
    strict = ("-x509_strict", "-check_ss_sig")
    assert openssl.verifies(*strict, "-CAfile", CA, "-purpose", "sslserver", f"{SERVER}.crt")
    assert openssl.verifies(*strict, "-CAfile", CA, "-purpose", "sslclient", f"{CLIENT}.crt")
    assert openssl.verifies(*strict, "-CAfile", "certs/mtls/ca.crt", "-purpose", "sslclient",
                            "certs/mtls/client.crt", "certs/mtls/ada@example.com.crt")  # fmt: skip
    assert openssl.verifies(*strict, "-CAfile", "certs/cert.pem", "-purpose", "sslserver", "certs/cert.pem")


def test_openssl_refuses_what_a_certificate_is_not_for(certs: Any, openssl: Any) -> None:
    assert certs("mcp-gateway").exit_code == 0
    assert certs("mcp-plugin", "a").exit_code == 0
    assert certs("mtls").exit_code == 0
    assert not openssl.verifies("-CAfile", CA, "-purpose", "sslclient", f"{SERVER}.crt")
    assert not openssl.verifies("-CAfile", CA, "-purpose", "sslserver", f"{CLIENT}.crt")
    assert not openssl.verifies("-CAfile", "certs/mtls/ca.crt", f"{CLIENT}.crt"), "the two CAs are not one"


def test_openssl_reads_the_extensions(certs: Any, openssl: Any) -> None:
    assert certs("mcp-ca", "--permit", "a", "--permit", "mcp-plugin-a", "--permit", "localhost",
                 "--permit", "127.0.0.0/8").exit_code == 0  # fmt: skip
    assert certs("mcp-plugin", "a", KEY_TYPE="rsa", KEY_SIZE="2048").exit_code == 0
    ca, server = openssl.text(CA), openssl.text(f"{SERVER}.crt")
    assert re.search(r"Basic Constraints: critical\s+CA:TRUE, pathlen:0", ca)
    assert re.search(r"Key Usage: critical\s+Certificate Sign, CRL Sign", ca)
    assert re.search(r"Name Constraints: critical\s+Permitted:\s+DNS:a\s+DNS:mcp-plugin-a", ca)
    assert "Signature Algorithm: ecdsa-with-SHA256" in server
    assert re.search(r"Basic Constraints: critical\s+CA:FALSE", server)
    assert re.search(r"Key Usage: critical\s+Digital Signature, Key Encipherment", server)
    assert re.search(r"Extended Key Usage: \s+TLS Web Server Authentication", server)
    assert "DNS:a, DNS:mcp-plugin-a, DNS:localhost, IP Address:127.0.0.1" in server
    identifier = re.search(r"Subject Key Identifier: \s+(\S+)", ca)
    issuer = re.search(r"Authority Key Identifier: \s+(\S+)", server)
    assert identifier
    assert issuer
    assert identifier[1] == issuer[1]
    assert openssl.verifies("-x509_strict", "-CAfile", CA, f"{SERVER}.crt")


def test_openssl_refuses_what_we_would_not_sign(tmp_path: Path, openssl: Any) -> None:
    shop = Workshop(Writing(), KeyForm(KeyType.P256))
    branch = Branch(shop, "Narrow CA", tmp_path / "ca", 9, 9, permitted=("example.com", "10.0.0.0/8"))
    branch.make_ca()
    authority = open_authority(branch.ca.key, branch.ca.certificate, shop.clock, None)
    now = shop.clock.now()
    for name, permitted in (("a.example.com", True), ("10.1.2.3", True), ("a.example.org", False), ("11.0.0.1", False)):
        leaf, key = Leaf("leaf", alternative_names((name,)), Purpose.SERVER), KeyForm(KeyType.P256).new()
        validity = Validity(now, now + timedelta(days=1))
        signed = form.leaf(leaf, key.public_key(), authority.certificate, validity).sign(
            authority.key, signing_hash(authority.key)
        )
        (tmp_path / "leaf.crt").write_bytes(signed.public_bytes(Encoding.PEM))
        assert openssl.verifies("-CAfile", "ca/ca.crt", "leaf.crt") is permitted
        with nullcontext() if permitted else pytest.raises(AuthorityUnusable, match="do not permit"):
            authority.issue(leaf, key.public_key(), 1, now)


def test_openssl_opens_the_encrypted_key_and_finds_aes_256(certs: Any, openssl: Any) -> None:
    assert certs("passphrase", KEY_FILE_PASSWORD="correct horse").exit_code == 0
    path = "certs/key-encrypted.pem"
    assert openssl.run("pkey", "-in", path, "-passin", "stdin", "-noout", text="wrong\n").returncode != 0
    public = openssl.run("pkey", "-in", path, "-passin", "stdin", "-pubout", text="correct horse\n").stdout
    assert public == openssl.run("x509", "-in", "certs/cert.pem", "-noout", "-pubkey").stdout
    assert "aes-256-cbc" in openssl.run("asn1parse", "-in", path).stdout


def test_openssl_reads_the_keys_of_tokens(certs: Any, openssl: Any) -> None:
    assert certs("jwt", KEY_SIZE="2048").exit_code == 0
    assert certs("jwt-ecdsa").exit_code == 0
    for private, public in (("private", "public"), ("ec_private", "ec_public")):
        derived = openssl.run("pkey", "-in", f"certs/jwt/{private}.pem", "-pubout").stdout
        assert derived == certs.path(f"jwt/{public}.pem").read_text()
    assert "prime256v1" in openssl.run("pkey", "-in", "certs/jwt/ec_private.pem", "-noout", "-text").stdout


def test_mutual_tls_holds_between_a_plugin_and_the_gateway(certs: Any, openssl: Any) -> None:
    assert certs("mcp-gateway").exit_code == 0
    assert certs("mcp-plugin", "a").exit_code == 0
    assert certs("mtls").exit_code == 0
    folder = certs.folder
    server = ("-cert", f"{SERVER}.crt", "-key", f"{SERVER}.key", "-CAfile", CA, "-Verify", "2", "-verify_return_error")
    with s_server(folder, *server) as port:
        url = f"https://localhost:{port}/"
        combined = curl(folder, "--cacert", CA, "--cert", f"{CLIENT}.pem", url)
        assert combined.returncode == 0, combined.stderr
        assert certs.path("mcp/gateway/client.crt").read_text() in combined.stdout, "s_server shows whom it saw"
        pair = curl(folder, "--cacert", CA, "--cert", f"{CLIENT}.crt", "--key", f"{CLIENT}.key", url)
        assert pair.returncode == 0, pair.stderr
        assert curl(folder, "--cacert", CA, url).returncode != 0, "no certificate"
        stranger = curl(folder, "--cacert", CA, "--cert", "certs/mtls/client.pem", url)
        assert stranger.returncode != 0, "a certificate of another CA"
        shown = ("-cert", f"{CLIENT}.pem", "-key", f"{CLIENT}.pem", "-CAfile", CA)
        named = ("-verify_return_error", "-verify_hostname", "mcp-plugin-a")
        client = openssl.run("s_client", "-connect", f"127.0.0.1:{port}", *shown, *named)
        assert "Verify return code: 0 (ok)" in client.stdout


def test_an_address_passes_only_where_the_certificate_has_it(tmp_path: Path, openssl: Any) -> None:
    del openssl
    branch = Branch(Workshop(Writing(), KeyForm(KeyType.P256)), "CA", tmp_path / "ca", 9, 9)
    branch.make_ca()
    for folder, names in (("host", ("localhost",)), ("both", ("localhost", "127.0.0.1"))):
        leaf = Leaf("localhost", alternative_names(names), Purpose.SERVER)
        branch.make_leaf(tmp_path / folder, "server", leaf, combined=False)
    outcomes: dict[tuple[str, str], int] = {}
    for folder in ("host", "both"):
        with s_server(tmp_path, "-cert", f"{folder}/server.crt", "-key", f"{folder}/server.key") as port:
            for host in ("localhost", "127.0.0.1"):
                done = curl(tmp_path, "--cacert", "ca/ca.crt", f"https://{host}:{port}/")
                outcomes[folder, host] = done.returncode
                if done.returncode:
                    assert "127.0.0.1" in done.stderr
            unchecked = curl(tmp_path, "--insecure", f"https://127.0.0.1:{port}/")
            assert unchecked.returncode == 0
    assert outcomes == {
        ("host", "localhost"): 0, ("host", "127.0.0.1"): MISMATCH, ("both", "localhost"): 0, ("both", "127.0.0.1"): 0,
    }  # fmt: skip


def test_the_names_of_the_front_end_pass_and_others_do_not(certs: Any, openssl: Any) -> None:
    assert certs("front").exit_code == 0
    check = ("verify", "-CAfile", "certs/cert.pem")
    for name in ("localhost", "gateway", "nginx"):
        assert openssl.run(*check, "-verify_hostname", name, "certs/cert.pem").returncode == 0
    for address in ("127.0.0.1", "::1"):
        assert openssl.run(*check, "-verify_ip", address, "certs/cert.pem").returncode == 0
    assert "hostname mismatch" in openssl.run(*check, "-verify_hostname", "evil", "certs/cert.pem").stderr
    assert "IP address mismatch" in openssl.run(*check, "-verify_ip", "10.0.0.1", "certs/cert.pem").stderr
    with s_server(certs.folder, "-cert", "certs/cert.pem", "-key", "certs/key.pem") as port:
        assert curl(certs.folder, "--cacert", "certs/cert.pem", f"https://localhost:{port}/").returncode == 0


def test_python_trusts_the_front_end_with_its_strict_defaults(certs: Any) -> None:
    assert certs("front").exit_code == 0
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certs.path("cert.pem"), certs.path("key.pem"))
    client = ssl.create_default_context(cafile=str(certs.path("cert.pem")))
    assert client.verify_flags & ssl.VerifyFlags.VERIFY_X509_STRICT
    shaken = handshake(client, server, "gateway")
    assert dict(entry[0] for entry in shaken["subject"])["commonName"] == "localhost"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(client, server, "evil.example.com")


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> dict[str, Any]:
    """Both sides in memory; answers what the client saw."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=name)
    theirs = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return dict(ours.getpeercert() or {})
