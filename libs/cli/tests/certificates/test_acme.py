"""``interlock certs acme`` against Pebble, the test server of Let's Encrypt (on Debian: apt install pebble)."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from interlock_cli.certificates.acme import command
from interlock_cli.certificates.acme.challenges import HttpResponder
from interlock_cli.certificates.acme.renewing import Renewal, account_of
from interlock_cli.certificates.acme.server import AcmeServer
from interlock_cli.certificates.files import Writing
from interlock_cli.certificates.keys import KeyForm, KeyType
from interlock_cli.certificates.reading import read_certificates
from interlock_cli.certificates.text import fingerprint_of, names_of
from interlock_cli.certificates.workshop import Workshop
from interlock_common.ports import choose_free
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.pki import ScratchAuthority

HOST = "gateway.example.com"
DAY = 86400.0


@dataclass(frozen=True)
class Pebble:
    """A running server; all names of the world lead to this machine."""

    url: str
    ca: Path
    http_port: int
    tls_port: int

    def options(self, challenge: str = "http-01") -> tuple[str, ...]:
        port = self.http_port if challenge == "http-01" else self.tls_port
        return ("--server", self.url, "--server-ca", str(self.ca), "--challenge", challenge, "--port", str(port),
                "--agree-terms")  # fmt: skip


@contextmanager
def program(*command: str, port: int, seconds: float = 20, **environment: str) -> Generator[None]:
    """A program that is ready once something listens on ``port``; it is asked to end, and has to."""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, f"{command[0]} ended"
                    assert time.monotonic() < deadline, f"{command[0]} does not listen"
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def start(folder: Path, stack: ExitStack, **more: Any) -> Pebble:
    authority = ScratchAuthority()
    key, certificate = authority.issue(dns=("localhost",), ips=("127.0.0.1",))
    for name, content in (("key.pem", key), ("cert.pem", certificate), ("ca.pem", authority.bundle_pem)):
        (folder / name).write_bytes(content)
    api, management, http, tls, dns, control = choose_free(6)
    config = {
        "listenAddress": f"127.0.0.1:{api}", "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "cert.pem"), "privateKey": str(folder / "key.pem"),
        "httpPort": http, "tlsPort": tls, "domainBlocklist": ["blocked-domain.example"],
    } | more  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"pebble": config}))
    stack.enter_context(program(
        "pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}",
        "-management", f"127.0.0.1:{control}", "-http01", "", "-https01", "", "-tlsalpn01", "", port=control,
    ))  # fmt: skip
    stack.enter_context(program(
        "pebble", "-config", str(folder / "config.json"), "-dnsserver", f"127.0.0.1:{dns}", port=api,
        PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="0",
    ))  # fmt: skip
    return Pebble(f"https://localhost:{api}/dir", folder / "ca.pem", http, tls)


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Generator[Pebble]:
    if shutil.which("pebble") is None or shutil.which("pebble-challtestsrv") is None:
        pytest.skip("there is no pebble on this machine")
    with ExitStack() as stack:
        yield start(tmp_path_factory.mktemp("pebble"), stack)


def leaf_of(certs: Any) -> x509.Certificate:
    return read_certificates(certs.path("cert.pem"))[0]


@pytest.mark.parametrize("challenge", ["http-01", "tls-alpn-01"])
def test_names_are_proven_and_the_pair_is_there(certs: Any, pebble: Pebble, challenge: str) -> None:
    result = certs("acme", HOST, "www.example.com", *pebble.options(challenge))
    assert result.exit_code == 0, result.output
    assert certs.files() == {"cert.pem", "key.pem", "acme/account.key", "acme/issued.json"}
    leaf, *others = read_certificates(certs.path("cert.pem"))
    assert set(names_of(leaf)) == {HOST, "www.example.com"}
    assert others, "the intermediate comes along"
    assert certs.path("key.pem").stat().st_mode & 0o777 == 0o600
    assert certs.path("acme/account.key").stat().st_mode & 0o777 == 0o600
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certs.path("cert.pem"), certs.path("key.pem"))
    assert certs("check").exit_code == 0


def test_a_web_server_that_runs_may_answer(certs: Any, pebble: Pebble) -> None:
    root = certs.folder / "www"
    root.mkdir()
    with program(
        sys.executable, "-m", "http.server", "--directory", str(root), str(pebble.http_port), port=pebble.http_port
    ):
        result = certs("acme", HOST, "--server", pebble.url, "--server-ca", str(pebble.ca), "--agree-terms",
                       "--webroot", str(root))  # fmt: skip
    assert result.exit_code == 0, result.output
    assert not [path for path in root.rglob("*") if path.is_file()], "the proof is taken away again"


def test_nothing_is_ordered_before_it_is_due(certs: Any, pebble: Pebble) -> None:
    assert certs("acme", HOST, *pebble.options()).exit_code == 0
    before = certs.contents()
    again = certs("acme", HOST, *pebble.options())
    assert (again.exit_code, certs.contents()) == (0, before)
    assert "to be renewed from" in again.stdout
    more = certs("acme", HOST, "more.example.com", *pebble.options())
    assert more.exit_code == 0, more.output
    assert set(names_of(leaf_of(certs))) == {HOST, "more.example.com"}
    assert certs.contents()["key.pem"] != before["key.pem"]
    assert certs.contents()["acme/account.key"] == before["acme/account.key"]


def test_a_pair_of_somebody_else_is_left_alone(certs: Any, pebble: Pebble) -> None:
    assert certs("front").exit_code == 0
    before = certs.contents()
    result = certs("acme", HOST, *pebble.options())
    assert result.exit_code == 2
    assert "was not made by this: --force replaces it" in result.stderr
    after = certs.contents()
    assert {name: after[name] for name in before} == before
    assert certs("acme", HOST, "--force", *pebble.options()).exit_code == 0
    assert names_of(leaf_of(certs)) == [HOST]


def test_a_key_without_its_certificate_is_used_for_the_first_one(certs: Any, pebble: Pebble) -> None:
    assert certs("front").exit_code == 0
    certs.path("cert.pem").unlink()
    key = certs.path("key.pem").read_bytes()
    assert certs("acme", HOST, *pebble.options()).exit_code == 0
    assert certs.path("key.pem").read_bytes() == key


def test_a_key_is_encrypted_where_the_gateway_has_its_passphrase(certs: Any, pebble: Pebble) -> None:
    passphrase = {"KEY_FILE_PASSWORD": "correct horse"}
    assert certs("acme", HOST, *pebble.options(), **passphrase).exit_code == 0
    assert b"ENCRYPTED PRIVATE KEY" in certs.path("key.pem").read_bytes()
    assert "to be renewed from" in certs("acme", HOST, *pebble.options(), **passphrase).stdout
    assert certs("check", **passphrase).exit_code == 0


def test_an_interruption_between_the_two_files_is_repaired(certs: Any, pebble: Pebble) -> None:
    assert certs("acme", HOST, *pebble.options()).exit_code == 0
    old = certs.path("cert.pem").read_bytes()
    assert certs("acme", HOST, "--force", *pebble.options()).exit_code == 0
    certs.path("cert.pem").write_bytes(old)
    assert certs("acme", HOST, *pebble.options()).exit_code == 0
    assert certs.path("cert.pem").read_bytes() != old
    assert certs("check").exit_code == 0


def test_two_thirds_of_the_lifetime_later_it_is_renewed(tmp_path: Path, pebble: Pebble) -> None:
    """The clock of this test goes ahead of the server's, so that the certificate is old for us only."""
    clock = ManualClock()
    shop = Workshop(Writing(), KeyForm(KeyType.P256), clock)
    renewal = Renewal(shop, tmp_path, (HOST,), HttpResponder(pebble.http_port))
    account = account_of(shop, tmp_path, agrees=True)

    def connect() -> AcmeServer:
        return AcmeServer(pebble.url, account, pebble.ca)

    def found() -> str:
        return fingerprint_of(read_certificates(tmp_path / "cert.pem")[0])

    due = renewal.run(connect)
    first, leaf = found(), read_certificates(tmp_path / "cert.pem")[0]
    share = (due - leaf.not_valid_before_utc) / (leaf.not_valid_after_utc - leaf.not_valid_before_utc)
    assert share == pytest.approx(2 / 3, abs=0.01)
    clock.advance((due - clock.now()).total_seconds() - DAY)
    renewal.run(connect)
    assert found() == first
    clock.advance(2 * DAY)
    renewal.run(connect)
    assert found() != first


def test_a_watch_goes_on_after_a_failure(tmp_path: Path, pebble: Pebble, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Workshop(Writing(force=True), KeyForm(KeyType.P256))
    renewal = Renewal(shop, tmp_path, (HOST,), HttpResponder(pebble.http_port))
    account = account_of(shop, tmp_path, agrees=True)
    trusted = [tmp_path / "missing.pem", pebble.ca, pebble.ca]
    pauses: list[float] = []

    def connect() -> AcmeServer:
        return AcmeServer(pebble.url, account, trusted[len(pauses)])

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == len(trusted):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.keep_fresh(renewal, connect, pause)
    retry, *looks = (seconds / 3600 for seconds in pauses)
    assert retry < 1
    assert all(6 * 0.89 < look < 6 * 1.11 for look in looks)  # six hours, and a tenth more or less
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert [line.split()[0] for line in told.out.splitlines()] == ["made", "made", "left"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("*.example.com",), "can be proven by DNS only"),
        (("ada@example.com",), "neither a host nor an address"),
        (("a b",), "is no host name"),
        (("example.com", "--server", "http://localhost/dir"), "an ACME server has an https address"),
        (("example.com", "--server", "https://localhost:1/dir"), "does not answer"),
        (("example.com", "--webroot", "x", "--port", "80"), "--webroot is for http-01"),
        (("example.com", "--webroot", "x", "--challenge", "tls-alpn-01"), "--webroot is for http-01"),
    ],
)
def test_what_cannot_be_ordered_is_refused_in_words(certs: Any, arguments: tuple[str, ...], said: str) -> None:
    result = certs("acme", *arguments)
    assert result.exit_code in {1, 2}
    assert said in result.stderr
    assert not {"cert.pem", "key.pem"} & certs.files()


def test_refusals_of_the_server_are_told_in_words(certs: Any, pebble: Pebble) -> None:
    trusted = ("--server", pebble.url, "--server-ca", str(pebble.ca))
    untrusted = certs("acme", HOST, "--server", pebble.url, "--agree-terms")
    assert "is not trusted: --server-ca FILE" in untrusted.stderr
    terms = certs("acme", HOST, *trusted)
    assert "wants its terms agreed to" in terms.stderr
    unreachable = certs("acme", HOST, *trusted, "--agree-terms", "--port", str(choose_free(1)[0]))
    assert f"{HOST} could not be proven by http-01: " in unreachable.stderr
    blocked = certs("acme", "blocked-domain.example", *pebble.options())
    assert "refuses" in blocked.stderr
    assert {untrusted.exit_code, terms.exit_code, unreachable.exit_code, blocked.exit_code} == {1}
    assert not {"cert.pem", "key.pem"} & certs.files()


def test_a_port_that_is_taken_is_told(certs: Any, pebble: Pebble) -> None:
    for challenge, port in (("http-01", pebble.http_port), ("tls-alpn-01", pebble.tls_port)):
        with socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True):
            result = certs("acme", HOST, *pebble.options(challenge))
        assert result.exit_code == 1
        assert f"port {port} cannot be listened on" in result.stderr


def test_a_server_that_knows_its_customers_is_told_who_asks(certs: Any, tmp_path: Path) -> None:
    if shutil.which("pebble") is None:
        pytest.skip("there is no pebble on this machine")
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    folder = tmp_path / "pebble"
    folder.mkdir()
    with ExitStack() as stack:
        server = start(folder, stack, externalAccountBindingRequired=True, externalAccountMACKeys={"kid-1": key})
        assert "takes known customers only" in certs("acme", HOST, *server.options()).stderr
        options = ("--eab-kid", "kid-1", *server.options())
        assert certs("acme", HOST, *options, ACME_EAB_KEY="d3Jvbmc").exit_code == 1
        result = certs("acme", HOST, *options, ACME_EAB_KEY=key)
        assert result.exit_code == 0, result.output
        assert key not in result.output


@pytest.mark.stack
def test_a_gateway_that_runs_serves_the_renewed_certificate(certs: Any, pebble: Pebble) -> None:
    assert certs("acme", HOST, *pebble.options()).exit_code == 0
    port = choose_free(1)[0]
    variables = {"CERT_FILE": str(certs.path("cert.pem")), "KEY_FILE": str(certs.path("key.pem"))}
    interlock = str(Path(sys.executable).with_name("interlock"))
    up = (interlock, "up", "--tls", "--port", str(port), "--state", str(certs.folder / "state"))
    with program(*up, port=port, seconds=60, **os.environ | variables):
        assert served(port) == leaf_of(certs)
        assert certs("acme", HOST, "--force", *pebble.options("tls-alpn-01")).exit_code == 0
        deadline = time.monotonic() + 15
        while served(port) != leaf_of(certs):
            assert time.monotonic() < deadline, "the old one is still served"


def served(port: int) -> x509.Certificate:
    """What a new handshake shows; who signed it is another test's question."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port), timeout=10).encode())
