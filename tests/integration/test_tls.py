"""TLS of a whole deployment: certificates that are replaced under load, and old versions at every listener."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from interlock_common.testing.chains import ChainAuthority
from interlock_common.testing.waiting import until
from stories.load import steady_calls
from stories.stage import Stage, set_up

SWAPS = 5
KEPT = httpx.Limits(keepalive_expiry=60)


@dataclass(frozen=True)
class Front:
    """The files that the edges serve, as an operator replaces them."""

    directory: Path
    root: ChainAuthority = field(default_factory=ChainAuthority.root)

    @property
    def ca(self) -> Path:
        return self.directory / "root.pem"

    def replace(self) -> x509.Certificate:
        """A new pair: first one file, then the other, with the edges looking at any moment between."""
        pair = self.root.below("issuing").issue("edge")
        pair.write(self.directory)
        return pair.leaf


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Front:
    front = Front(tmp_path_factory.mktemp("front"))
    front.ca.write_bytes(front.root.pem)
    front.replace()
    return front


@pytest.fixture(scope="module")
def over_tls(
    tmp_path_factory: pytest.TempPathFactory,
    containers: bool,
    front: Front,
) -> Generator[Stage]:
    """Two edges that share a port and a certificate that lies in files."""
    extra = {"CERT_FILE": str(front.directory / "cert.pem"), "KEY_FILE": str(front.directory / "key.pem")}
    with set_up(tmp_path_factory.mktemp("tls"), containers=containers, extra=extra, gateways=2, ca=front.ca) as ready:
        yield ready


async def shown_at(stage: Stage) -> x509.Certificate:
    """What a new connection is shown."""
    port = stage.deployment.ports["public"]
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=stage.deployment.trust)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(der)


async def asked_from(client: httpx.AsyncClient) -> tuple[str, int]:
    """Ask something; the address of this end says whether the connection is still the one of before."""
    async with client.stream("GET", "/health") as answer:
        assert answer.status_code == 200
        address = answer.extensions["network_stream"].get_extra_info("client_addr")
        await answer.aread()
    return address


@asynccontextmanager
async def new_connections(stage: Stage) -> AsyncGenerator[list[int]]:
    """One connection after the other; the serial numbers that they were shown."""
    serials: list[int] = []

    async def go_on() -> None:
        while True:
            serials.append((await shown_at(stage)).serial_number)

    going = asyncio.create_task(go_on())
    try:
        yield serials
        assert not going.done()
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


async def test_a_certificate_replaced_on_disk_is_shown_to_the_next_handshake_and_nothing_is_dropped(
    over_tls: Stage, front: Front
) -> None:
    trust = over_tls.deployment.trust
    async with (
        httpx.AsyncClient(base_url=over_tls.deployment.url, verify=trust, timeout=20, limits=KEPT) as kept_open,
        steady_calls(over_tls.mcp, over_tls.token, "notes-search_notes", {"query": "x"}, 4, trust=trust) as tally,
        new_connections(over_tls) as serials,
    ):
        before = await asked_from(kept_open)
        for _ in range(SWAPS):
            new = front.replace().serial_number
            # Two edges: the port is shared, so only many handshakes in a row say that both have it.
            await until(lambda new=new: serials[-20:] == [new] * 20, 15)
        calls = tally.answers["ok"]
        await until(lambda: tally.answers["ok"] > calls + 20)
        after = await asked_from(kept_open)
    assert tally.failed == {}
    assert len(set(serials)) == SWAPS + 1
    assert before == after
    sys.stdout.write(f"{SWAPS} certificates, {len(serials)} handshakes, {tally.answers['ok']} calls, none failed\n")


async def test_half_a_pair_on_disk_changes_nothing(over_tls: Stage, front: Front) -> None:
    served = (await shown_at(over_tls)).serial_number
    kept = (front.directory / "cert.pem").read_bytes()
    log = over_tls.deployment.state.log("gateway")
    before = log.read_text().count("the new one is not usable")
    (front.directory / "cert.pem").write_bytes(front.root.issue("other").chain)
    await until(lambda: log.read_text().count("the new one is not usable") > before)
    assert {(await shown_at(over_tls)).serial_number for _ in range(10)} == {served}
    (front.directory / "cert.pem").write_bytes(kept)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
@pytest.mark.parametrize("listener", ["public", "enrolment"])
def test_old_versions_of_tls_are_refused_at_the_listeners_of_services(
    over_tls: Stage, listener: str, version: str
) -> None:
    place = f"127.0.0.1:{over_tls.deployment.ports[listener]}"
    assert "Protocol version: TLSv1.2" in s_client(place, "-tls1_2")
    said = s_client(place, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "CONNECTION ESTABLISHED" not in said
    assert "alert" in said or "unexpected eof" in said


async def test_a_refused_handshake_is_in_the_record_with_its_reason(over_tls: Stage) -> None:
    s_client(f"127.0.0.1:{over_tls.deployment.ports['public']}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")

    def recorded() -> bool:
        with over_tls.deployment.rest(over_tls.token) as client:
            page = client.get("/audit/records", params={"kind": "action", "limit": 200}).raise_for_status().json()
        found = [json.loads(record["leaf"]) for record in page["records"]]
        return any(
            (each["action"], each["actor"]) == ("tls.handshake_refused", "127.0.0.1")
            and "speaks no version of TLS that is allowed" in each["detail"]["reason"]
            for each in found
        )

    await until(recorded, 15)


@pytest.mark.parametrize(("version", "taken"), [("TLSv1", False), ("TLSv1_1", False), ("TLSv1_2", True)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused_by_the_bus(over_tls: Stage, version: str, taken: bool) -> None:
    """A nats-server says who it is in plain text, and then speaks TLS."""
    identity = over_tls.deployment.state.identity("gateway")
    context = ssl.create_default_context(cafile=identity / "bundle.pem")
    context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", over_tls.deployment.ports["bus"]), 10) as plain:
        assert plain.recv(4096).startswith(b"INFO ")
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as tls:
                came_about = tls.version() == "TLSv1.2"
        except (ssl.SSLError, ConnectionResetError):
            came_about = False
    assert came_about is taken


def s_client(place: str, *options: str) -> str:
    done = subprocess.run(
        ["openssl", "s_client", "-connect", place, "-brief", *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr
