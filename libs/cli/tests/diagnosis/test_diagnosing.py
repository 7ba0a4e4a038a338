"""Each way in which a TLS connection does not come about, against real ports, is told apart from the others."""

import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from interlock_cli.diagnosis.causes import Cause
from interlock_cli.diagnosis.diagnosing import Asked, Diagnosis, diagnose
from interlock_cli.diagnosis.target import Target, TargetUnusable
from interlock_cli.main import app
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.testing.chains import ChainAuthority, Pair
from interlock_common.tls_handshake import ServerContext

ROOT = ChainAuthority.root()
ISSUING = ROOT.below("issuing")
_DAY = timedelta(days=1)

type Talk = Callable[[socket.socket], None]
type Start = Callable[[Talk], int]


@contextmanager
def _talking(talk: Talk) -> Generator[int]:
    """A port whose connections are handed to ``talk``, one after the other, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    talk(connection)

        thread.submit(serve)
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def start() -> Generator[Start]:
    with ExitStack() as stack:
        yield lambda talk: stack.enter_context(_talking(talk))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.pem"
    path.write_bytes(ROOT.pem)
    return path


def tls(pair: Pair, directory: Path, *, clients: ssl.VerifyMode = ssl.CERT_NONE) -> Talk:
    context = ServerContext(3)
    context.load_cert_chain(*pair.write(directory, "server"))
    if clients is not ssl.CERT_NONE:
        context.demand_client_certificates(clients, ROOT.pem.decode())

    def talk(connection: socket.socket) -> None:
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(inward, outward, server_side=True)
        while True:
            try:
                session.do_handshake()
                session.read(1024)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                connection.sendall(outward.read())
                return
            connection.sendall(outward.read())
            received = connection.recv(65536)
            if not received:
                return
            inward.write(received)

    return talk


def plain_http(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


def nats(connection: socket.socket) -> None:
    connection.sendall(b'INFO {"server_id":"x"}\r\n')
    connection.recv(1024)


def of(port: int, **asked: object) -> Diagnosis:
    return diagnose(Target("localhost", port), Asked(**asked), SYSTEM_CLOCK)  # pyright: ignore[reportArgumentType]


def causes(found: Diagnosis) -> list[Cause]:
    return [finding.cause for finding in found.findings]


def test_a_port_that_is_right_has_nothing_wrong(start: Start, tmp_path: Path, root: Path) -> None:
    found = of(start(tls(ISSUING.issue(), tmp_path)), ca=root)
    assert found.findings == []
    assert [step.name for step in found.steps] == ["dns", "tcp", "handshake", "expiry", "trust", "name", "client"]
    assert all(step.ok for step in found.steps)
    assert found.shown is not None
    assert (found.shown.version, found.shown.alpn, len(found.shown.chain)) == ("TLSv1.3", "http/1.1", 2)
    assert found.warnings == ["the certificate ends in 0 days"]


def test_a_name_that_nobody_has_and_a_port_where_nobody_listens() -> None:
    found = diagnose(Target("nobody.invalid", 443), Asked(), SYSTEM_CLOCK)
    assert causes(found) == [Cause.DNS]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert causes(of(unused.getsockname()[1])) == [Cause.REFUSED]


def test_a_port_that_does_not_answer_in_time() -> None:
    """A full backlog: what comes then gets no answer."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        found = of(listener.getsockname()[1], seconds=0.3)
    assert causes(found) == [Cause.TIMEOUT]


def test_plain_http_where_tls_was_meant_is_a_scheme_mismatch(start: Start) -> None:
    found = of(start(plain_http))
    assert causes(found) == [Cause.SCHEME]
    assert "HTTP/1.1 400 Bad Request" in found.findings[0].seen


def test_plain_http_that_is_sent_to_a_tls_port(start: Start, tmp_path: Path) -> None:
    port = start(tls(ISSUING.issue(), tmp_path))
    found = diagnose(Target.parse(f"http://localhost:{port}/mcp"), Asked(), SYSTEM_CLOCK)
    assert causes(found) == [Cause.PLAIN_HTTP_TO_TLS]
    port = start(plain_http)
    assert diagnose(Target.parse(f"http://localhost:{port}"), Asked(), SYSTEM_CLOCK).ok


def test_something_else_that_listens_there(start: Start) -> None:
    found = of(start(nats))
    assert causes(found) == [Cause.NOT_TLS]
    assert "INFO {" in found.findings[0].seen


@pytest.mark.parametrize(
    ("pair", "cause", "seen"),
    [
        (ISSUING.issue(hosts=("other.example.com",)), Cause.NAME, "does not name localhost"),
        (ISSUING.issue(begins=SYSTEM_CLOCK.now() - 3 * _DAY), Cause.EXPIRED, "the certificate expired on"),
        (ISSUING.issue(begins=SYSTEM_CLOCK.now() + 3 * _DAY), Cause.NOT_YET, "the certificate counts from"),
        (ChainAuthority.root("other").issue(), Cause.INCOMPLETE, "issuer CN=other is not known here"),
    ],
)
def test_what_is_wrong_with_a_certificate(
    start: Start, tmp_path: Path, root: Path, pair: Pair, cause: Cause, seen: str
) -> None:
    found = of(start(tls(pair, tmp_path)), ca=root)
    assert causes(found) == [cause]
    assert seen in found.findings[0].seen


def test_an_intermediate_that_is_not_sent_and_a_root_that_is_not_trusted(
    start: Start, tmp_path: Path, root: Path
) -> None:
    pair = ISSUING.issue()
    alone = Pair(pair.leaf.public_bytes(Encoding.PEM), pair.key)
    assert causes(of(start(tls(alone, tmp_path)), ca=root)) == [Cause.INCOMPLETE]
    found = of(start(tls(pair, tmp_path)))
    assert causes(found) == [Cause.UNTRUSTED]
    assert "CN=root" in found.findings[0].seen
    assert [step.ok for step in found.steps[-3:]] == [False, True, True]


def test_behind_a_chain_that_nobody_trusts_the_name_is_looked_at_all_the_same(start: Start, tmp_path: Path) -> None:
    found = of(start(tls(ISSUING.issue(hosts=("other.example.com",)), tmp_path)))
    assert causes(found) == [Cause.UNTRUSTED, Cause.NAME]
    assert [step.ok for step in found.steps[-3:]] == [False, False, None]


def test_two_things_are_wrong_at_once(start: Start, tmp_path: Path, root: Path) -> None:
    pair = ISSUING.issue(hosts=("other.example.com",), begins=SYSTEM_CLOCK.now() - 3 * _DAY)
    assert causes(of(start(tls(pair, tmp_path)), ca=root)) == [Cause.EXPIRED, Cause.NAME]


def test_a_client_certificate_that_is_missing_refused_and_taken(start: Start, tmp_path: Path, root: Path) -> None:
    port = start(tls(ISSUING.issue(), tmp_path, clients=ssl.CERT_REQUIRED))
    assert causes(of(port, ca=root)) == [Cause.CLIENT_CERTIFICATE]
    cert, key = ChainAuthority.root("other").issue().write(tmp_path, "eve")
    assert causes(of(port, ca=root, cert=cert, key=key)) == [Cause.CLIENT_REFUSED]
    cert, key = ISSUING.issue("ada").write(tmp_path, "ada")
    assert of(port, ca=root, cert=cert, key=key).ok


@contextmanager
def s_server(directory: Path, *options: str) -> Generator[int]:
    """OpenSSL's own server, for what Python no longer speaks."""
    cert, key = ISSUING.issue().write(directory, "old")
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(cert), "-key", str(key), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            line = next(line for line in server.stdout if line.startswith(b"ACCEPT"))
            yield int(line.rpartition(b":")[2])
        finally:
            server.kill()


def test_a_server_that_is_too_old(tmp_path: Path) -> None:
    with s_server(tmp_path, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0") as port:
        assert causes(of(port)) == [Cause.OLD_VERSION]


def test_the_command_prints_a_table_or_json_and_exits_with_the_code_of_the_cause(
    start: Start, tmp_path: Path, root: Path
) -> None:
    runner, port = CliRunner(), start(tls(ISSUING.issue(hosts=("other.example.com",)), tmp_path))
    said = runner.invoke(app, ["tls", "diagnose", f"localhost:{port}", "--ca", str(root)])
    assert said.exit_code == Cause.NAME.value.exit_code
    assert "hostname_mismatch: the certificate does not name localhost" in said.stdout
    said = runner.invoke(app, ["tls", "diagnose", f"localhost:{port}", "--ca", str(root), "--json"])
    document = json.loads(said.stdout)
    assert (document["ok"], document["findings"][0]["cause"]) == (False, "hostname_mismatch")
    assert document["chain"][0]["names"] == ["other.example.com"]
    named = ["tls", "diagnose", f"localhost:{port}", "--ca", str(root), "--name", "other.example.com"]
    assert runner.invoke(app, named).exit_code == 0


def test_what_names_no_port_is_refused(tmp_path: Path) -> None:
    for text in ("localhost", "localhost:x", ":1", "localhost:99999"):
        with pytest.raises(TargetUnusable):
            Target.parse(text)
    assert Target.parse("https://mcp.example.com/mcp") == Target("mcp.example.com", 443)
    assert str(Target.parse("[::1]:4444")) == "[::1]:4444"
    (tmp_path / "nothing.pem").write_text("nothing")
    said = CliRunner().invoke(app, ["tls", "diagnose", "localhost:1", "--ca", str(tmp_path / "nothing.pem")])
    assert said.exit_code == 2
