import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from interlock_common.messages.catalog import Tls
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.pki import ScratchAuthority
from interlock_gateway.errors import UpstreamUnreachable
from interlock_gateway.testing.servers import result_of, upstream_at
from interlock_gateway.testing.upstreams import all_of, http_over, request_to
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.connections import Bounds, Ways
from interlock_gateway.upstreams.tls import TlsContexts, TlsUnusable


class Files:
    """The PEM files of one side, in a folder of their own."""

    def __init__(
        self, folder: Path, authority: ScratchAuthority, *names: str, addresses: Sequence[str] = ("127.0.0.1",)
    ) -> None:
        folder.mkdir()
        self.folder, self.authority, self.addresses = folder, authority, addresses
        self.bundle, self.cert, self.key = (folder / name for name in ("bundle.pem", "cert.pem", "key.pem"))
        self.bundle.write_bytes(authority.bundle_pem)
        self.issue(*names)

    def issue(self, *names: str) -> None:
        key, chain = self.authority.issue(ips=self.addresses, dns=names)
        self.key.write_bytes(key)
        self.cert.write_bytes(chain)

    def settings(self, **changes: Any) -> Tls:
        paths: dict[str, Any] = {"ca_bundle": str(self.bundle), "certfile": str(self.cert), "keyfile": str(self.key)}
        return Tls(**paths | changes)


@pytest.fixture
def authority() -> ScratchAuthority:
    return ScratchAuthority()


@pytest.fixture
def mine(tmp_path: Path, authority: ScratchAuthority) -> Files:
    return Files(tmp_path / "mine", authority, "gateway")


@asynccontextmanager
async def serving(files: Files) -> AsyncGenerator[tuple[str, list[Any]]]:
    """An upstream that wants a client certificate; its URL, and the certificates it was shown."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.bundle))
    context.load_cert_chain(files.cert, files.key)
    context.verify_mode = ssl.CERT_REQUIRED
    shown: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        shown.append(request.transport.get_extra_info("peercert")["serialNumber"])
        response = web.Response(body=result_of(1), content_type="application/json")
        response.force_close()
        return response

    app = web.Application()
    app.router.add_route("*", "/mcp", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/mcp", shown
    finally:
        await runner.cleanup()


@pytest.fixture
async def server(tmp_path: Path, authority: ScratchAuthority) -> AsyncGenerator[tuple[str, list[Any]]]:
    async with serving(Files(tmp_path / "theirs", authority)) as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ways(clock: ManualClock) -> AsyncGenerator[Ways]:
    ways = Ways(Bounds(connect_timeout=30.0), AddressPolicy(allow_private=True), tls=TlsContexts(clock))
    yield ways
    await ways.stop()


async def test_an_upstream_is_trusted_by_its_own_bundle_and_shown_a_certificate(
    ways: Ways, mine: Files, server: tuple[str, list[Any]]
) -> None:
    url, shown = server
    await all_of(http_over(ways), request_to(url, tls=mine.settings()))
    assert len(shown) == 1


async def test_an_upstream_that_nobody_vouches_for_is_not_talked_to(ways: Ways, server: tuple[str, list[Any]]) -> None:
    url, shown = server
    for tls in (None, Tls()):
        with pytest.raises(UpstreamUnreachable, match="notes failed: ClientConnectorCertificateError"):
            await all_of(http_over(ways), request_to(url, tls=tls))
    assert not shown


async def test_verification_can_be_skipped_but_not_quietly(
    ways: Ways, mine: Files, server: tuple[str, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    await all_of(http_over(ways), request_to(server[0], tls=mine.settings(ca_bundle="", verify=False)))
    assert "the certificate of an upstream is not verified" in capsys.readouterr().out


async def test_a_renewed_certificate_is_shown_from_the_next_connection_on(
    ways: Ways, mine: Files, clock: ManualClock, server: tuple[str, list[Any]]
) -> None:
    url, shown = server
    http, asked = http_over(ways), request_to(url, tls=mine.settings())
    await all_of(http, asked)
    mine.issue("gateway")
    await all_of(http, asked)
    clock.advance(2)
    await all_of(http, asked)
    assert shown[0] == shown[1] != shown[2]


async def test_files_that_are_broken_for_a_while_leave_the_old_ones_in_use(
    mine: Files, clock: ManualClock, server: tuple[str, list[Any]]
) -> None:
    contexts = TlsContexts(clock)
    upstream = upstream_at(server[0], tls=mine.settings())
    first = contexts.of(upstream)
    good = mine.key.read_bytes()
    mine.key.write_bytes(b"half a fi")
    clock.advance(2)
    assert contexts.of(upstream) is first
    assert "u1" in contexts.problems
    mine.key.write_bytes(good)
    clock.advance(2)
    assert contexts.of(upstream) is not first
    assert contexts.problems == {}


async def test_files_that_never_were_good_are_an_error_that_names_the_upstream_and_no_path(
    ways: Ways, mine: Files
) -> None:
    asked = request_to("https://127.0.0.1:9/", tls=mine.settings(certfile="/nowhere/cert.pem"))
    with pytest.raises(TlsUnusable, match="the TLS files of upstream notes cannot be used: FileNotFoundError"):
        await all_of(http_over(ways), asked)


async def test_a_name_that_is_not_in_the_certificate_is_refused_unless_told_otherwise(
    ways: Ways, mine: Files, tmp_path: Path, authority: ScratchAuthority
) -> None:
    async with serving(Files(tmp_path / "theirs", authority, "elsewhere.example", addresses=())) as (url, shown):
        with pytest.raises(UpstreamUnreachable, match="CertificateError"):
            await all_of(http_over(ways), request_to(url, tls=mine.settings()))
        assert not shown
        await all_of(http_over(ways), request_to(url, tls=mine.settings(check_hostname=False)))
        assert len(shown) == 1
