"""Handshakes with real clients: what each side gets to know, and what is bounded."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop

from interlock_common.testing.chains import ChainAuthority
from interlock_common.testing.waiting import until
from interlock_common.tls_accept import Acceptor
from interlock_common.tls_handshake import ServerContext

type Accepting = Callable[..., int]

ANSWER = b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nok\n"


class Answering(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        transport.write(ANSWER)
        transport.close()


@dataclass
class Chains:
    """A root with three CAs below one another, and their leaves in a folder, for ``openssl`` and ``curl``."""

    directory: Path
    root: ChainAuthority = field(default_factory=ChainAuthority.root)

    def __post_init__(self) -> None:
        first = self.root.below("first")
        third = first.below("second").below("third")
        first.issue("server").write(self.directory, "server")
        first.issue("near").write(self.directory, "near")
        third.issue("far").write(self.directory, "far")
        (self.directory / "root.pem").write_bytes(self.root.pem)

    def context(self, mode: ssl.VerifyMode = ssl.CERT_REQUIRED, depth: int = 2) -> ServerContext:
        context = ServerContext(depth)
        context.load_cert_chain(self.directory / "server-cert.pem", self.directory / "server-key.pem")
        if mode is not ssl.CERT_NONE:
            context.demand_client_certificates(mode, self.root.pem.decode())
        return context


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Chains:
    return Chains(tmp_path_factory.mktemp("chains"))


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def accepting(request: pytest.FixtureRequest) -> Generator[Accepting]:
    """Serves, on a loop of each kind and its own thread, until the test ends; answers the port."""
    with ExitStack() as stack:

        def start(context: Callable[[], ssl.SSLContext], **more: Any) -> int:
            return stack.enter_context(_serving(request.param, context, more))

        yield start


@contextmanager
def _serving(
    new_loop: Callable[[], asyncio.AbstractEventLoop], context: Callable[[], ssl.SSLContext], more: dict[str, Any]
) -> Generator[int]:
    ending = asyncio.Event()

    async def serve(listener: socket.socket) -> None:
        acceptor = Acceptor(listener, context, Answering, **more)
        acceptor.start(16)
        await ending.wait()
        acceptor.close()
        await acceptor.wait_closed()

    with socket.socket() as listener, asyncio.Runner(loop_factory=new_loop) as runner, ThreadPoolExecutor(1) as thread:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        listener.setblocking(False)
        loop = runner.get_loop()
        served = thread.submit(runner.run, serve(listener))
        try:
            yield listener.getsockname()[1]
        finally:
            loop.call_soon_threadsafe(ending.set)
            served.result(10)


async def run(chains: Chains, *command: str) -> str:
    async with asyncio.timeout(20):
        process = await asyncio.create_subprocess_exec(
            *command, cwd=chains.directory, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
    return said.decode()


async def curl(chains: Chains, port: int, *options: str) -> str:
    return await run(chains, "curl", "-sS", "--cacert", "root.pem", *options, f"https://localhost:{port}/")


async def s_client(chains: Chains, port: int, *options: str) -> str:
    return await run(chains, "openssl", "s_client", "-connect", f"localhost:{port}", "-ign_eof", *options)


def shown(name: str) -> tuple[str, ...]:
    return "--cert", f"{name}-cert.pem", "--key", f"{name}-key.pem"


@pytest.mark.parametrize("version", ["--tls-max", "--tlsv1.3"])
async def test_a_client_without_a_certificate_is_told_so_by_an_alert(
    accepting: Accepting, chains: Chains, version: str
) -> None:
    more = (version, "1.2") if version == "--tls-max" else (version,)
    context = chains.context()
    with structlog.testing.capture_logs() as logs:
        port = accepting(lambda: context)
        said = await curl(chains, port, *more)
    assert "certificate required" in said or "alert handshake failure" in said
    (log,) = logs
    assert (log["peer"], log["reason"]) == ("127.0.0.1", "the client showed no certificate, and one is demanded")


async def test_a_certificate_of_an_authority_that_counts_is_taken(accepting: Accepting, chains: Chains) -> None:
    context = chains.context()
    port = accepting(lambda: context)
    assert await curl(chains, port, *shown("near")) == "ok\n"


async def test_level_one_takes_clients_without_a_certificate_and_refuses_a_wrong_one(
    accepting: Accepting, chains: Chains, tmp_path: Path
) -> None:
    cert, key = ChainAuthority.root("stranger").issue("eve").write(tmp_path)
    context = chains.context(ssl.CERT_OPTIONAL)
    with structlog.testing.capture_logs() as logs:
        port = accepting(lambda: context)
        assert await curl(chains, port) == "ok\n"
        said = await curl(chains, port, "--cert", str(cert), "--key", str(key))
    assert "unknown ca" in said
    assert logs[0]["reason"] == "the client's certificate is not taken: unable to get local issuer certificate"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_a_chain_may_be_as_long_as_is_allowed_and_no_longer(
    accepting: Accepting, chains: Chains, version: str
) -> None:
    four, three = chains.context(depth=4), chains.context(depth=3)
    with structlog.testing.capture_logs() as logs:
        port = accepting(lambda: four)
        assert await curl(chains, port, "--tls-max", version, *shown("far")) == "ok\n"
        port = accepting(lambda: three)
        assert "ok" not in await curl(chains, port, "--tls-max", version, *shown("far"))
    assert [log["reason"] for log in logs] == ["the client's chain has 4 CA certificates, 3 are allowed"]


async def test_a_session_goes_on_only_for_a_chain_that_was_taken(
    accepting: Accepting, chains: Chains, tmp_path: Path
) -> None:
    """A resumed session of TLS 1.2 shows no chain: it counts because its first handshake did."""
    context, kept = chains.context(), str(tmp_path / "session")
    client = ("-tls1_2", "-cert", "near-cert.pem", "-cert_chain", "near-cert.pem", "-key", "near-key.pem")
    port = accepting(lambda: context)
    assert "New, TLSv1.2" in await s_client(chains, port, *client, "-sess_out", kept)
    again = await s_client(chains, port, *client, "-sess_in", kept)
    assert "Reused, TLSv1.2" in again
    assert "HTTP/1.0 200 OK" in again
    context = chains.context()  # other certificates: what was agreed under the old ones is void
    assert "New, TLSv1.2" in await s_client(chains, port, *client, "-sess_in", kept)


async def test_tls_1_3_gives_no_tickets_where_clients_show_certificates(accepting: Accepting, chains: Chains) -> None:
    context = chains.context()
    port = accepting(lambda: context)
    client = ("-tls1_3", "-cert", "near-cert.pem", "-cert_chain", "near-cert.pem", "-key", "near-key.pem")
    assert "New Session Ticket" not in await s_client(chains, port, *client)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
async def test_old_versions_are_refused_with_an_alert(accepting: Accepting, chains: Chains, version: str) -> None:
    context = chains.context(ssl.CERT_NONE)
    port = accepting(lambda: context)
    said = await s_client(chains, port, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in said


async def test_ciphers_without_forward_secrecy_are_refused(accepting: Accepting, chains: Chains) -> None:
    context = chains.context(ssl.CERT_NONE)
    port = accepting(lambda: context)
    said = await s_client(chains, port, "-tls1_2", "-cipher", "AES256-GCM-SHA384:ECDHE-ECDSA-AES256-SHA")
    assert "alert handshake failure" in said
    assert "ALPN protocol: http/1.1" in await s_client(chains, port, "-alpn", "h2,http/1.1")


async def test_plain_http_is_told_to_use_https(accepting: Accepting, chains: Chains) -> None:
    context = chains.context()
    with structlog.testing.capture_logs() as logs:
        port = accepting(lambda: context)
        said = await run(chains, "curl", "-sS", "-i", f"http://localhost:{port}/mcp")
    assert said.startswith("HTTP/1.1 400 Bad Request")
    assert "This port speaks HTTPS" in said
    assert logs[0]["reason"] == "plain HTTP was sent to a port that speaks TLS"


async def test_a_client_that_says_nothing_is_left_after_the_time_it_has(accepting: Accepting, chains: Chains) -> None:
    context = chains.context()
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(10):
            port = accepting(lambda: context, seconds=0.2)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await reader.readexactly(1)
            writer.close()
            await until(lambda: bool(logs))
    assert logs[0]["reason"] == "the handshake took too long"


async def test_of_too_many_handshakes_the_oldest_is_dropped(accepting: Accepting, chains: Chains) -> None:
    context = chains.context(ssl.CERT_NONE)
    async with asyncio.timeout(10):
        port = accepting(lambda: context, most=2)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await silent[0][0].readexactly(1)
        assert await curl(chains, port) == "ok\n"
        assert not silent[2][0].at_eof()
        for _, writer in silent:
            writer.close()


class Crowded(socket.socket):
    """A listener of a process that has no file descriptor left, once."""

    full = True

    def accept(self) -> tuple[socket.socket, Any]:
        if self.full:
            self.full = False
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_a_process_without_file_descriptors_goes_on_when_it_has_some(chains: Chains) -> None:
    context = chains.context(ssl.CERT_NONE)
    with Crowded() as listener, structlog.testing.capture_logs() as logs:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        acceptor = Acceptor(listener, lambda: context, Answering)
        acceptor.start(16)
        assert await curl(chains, listener.getsockname()[1]) == "ok\n"
        acceptor.close()
        await acceptor.wait_closed()
    assert [log["error"] for log in logs] == ["Too many open files"]


async def test_a_reason_that_comes_often_is_said_once_in_a_while(accepting: Accepting, chains: Chains) -> None:
    context = chains.context()
    with structlog.testing.capture_logs() as logs:
        port = accepting(lambda: context)
        for _ in range(5):
            await curl(chains, port)
    assert len(logs) == 1
