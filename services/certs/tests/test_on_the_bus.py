"""certs as a process of its own, with a real nats-server that has its certificate from there."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from nats.aio.client import Client
from nats.errors import Error as NatsError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.enrolment import Renewer, enrol
from interlock_common.errors import Conflict, InterlockError
from interlock_common.identity import Identity
from interlock_common.messages import resources, subjects
from interlock_common.messages.access import render_accounts
from interlock_common.messages.certs import (
    BUNDLE_KEY,
    AuthorityStatus,
    CertificatesRevoked,
    LeafList,
    ReinstateIdentity,
    RevokedCertificate,
    RevokeIdentity,
    RevokeLeaf,
    RotateAuthority,
    Step,
    TrustBundle,
    revoked_key,
)
from interlock_common.messages.common import Actor, Empty, Page
from interlock_common.nats_server import nats_server_binary
from interlock_common.testing.bus import free_port
from interlock_common.testing.waiting import until
from interlock_common.trust import TrustFollower

DOMAIN = "interlock.test"
ADMIN = Actor("root@example.com", is_admin=True)
STEPS: tuple[Step, ...] = ("prepare", "activate", "taint", "revoke")


class Say(msgspec.Struct, frozen=True):
    number: int


@dataclass
class Deployment:
    """A folder with certs and the bus, as processes."""

    directory: Path
    settings: dict[str, str] = field(default_factory=dict[str, str])
    bus_port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    enrolment_port: int = field(default_factory=free_port)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list[asyncio.subprocess.Process])

    @property
    def environment(self) -> dict[str, str]:
        directory = self.directory
        return {
            "PATH": os.environ["PATH"], "TRUST_DOMAIN": DOMAIN, "BUS_URL": f"tls://127.0.0.1:{self.bus_port}",
            "IDENTITY_DIR": str(directory / "certs"), "CA_DIR": str(directory / "ca"),
            "JOIN_DROP_DIR": str(directory / "join"), "BUS_IDENTITY_DIR": str(directory / "bus"),
            "DATABASE_URL": f"sqlite:///{directory / 'certs.db'}", "ENROLMENT_PORT": str(self.enrolment_port),
            "HEALTH_PORT": str(self.health_port), **self.settings,
        }  # fmt: skip

    async def certs(self, *arguments: str) -> asyncio.subprocess.Process:
        with (self.directory / "certs.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "interlock_certs", *arguments, env=self.environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    async def start_bus(self) -> asyncio.subprocess.Process:
        config, identity = self.directory / "nats.conf", self.directory / "bus"
        config.write_text(
            f'listen: "127.0.0.1:{self.bus_port}"\n'
            f'tls {{ cert_file: "{identity}/cert.pem", key_file: "{identity}/key.pem",\n'
            f'  ca_file: "{identity}/bundle.pem", verify_and_map: true, include "bus/pins.conf"\n }}\n'
            f'jetstream {{ store_dir: "{self.directory}/jetstream" }}\n' + render_accounts(DOMAIN)
        )
        process = await asyncio.create_subprocess_exec(
            nats_server_binary(), "-c", str(config), "-l", str(self.directory / "nats.log")
        )
        self.processes.append(process)
        return process

    async def answers(self, path: str, status: int) -> None:
        url = f"http://127.0.0.1:{self.health_port}{path}"
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(url) as response:
                        if response.status == status:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def joined(self, service: str) -> Identity:
        identity = Identity(service, DOMAIN, self.directory / service)
        join = self.directory / "join" / service
        await enrol(identity, f"https://127.0.0.1:{self.enrolment_port}", join, timeout=10)
        return identity

    async def bus_serial(self, identity: Identity) -> int:
        """Of the certificate that the bus shows to a new connection; its greeting comes before TLS."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.bus_port)
        await reader.readline()
        await writer.start_tls(identity.client_context(), server_hostname="127.0.0.1")
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return x509.load_der_x509_certificate(shown).serial_number

    async def is_taken(self, identity: Identity) -> bool:
        """Whether the bus takes a certificate, as a round trip shows."""
        client = Client()
        try:
            async with asyncio.timeout(5):
                await client.connect(
                    self.environment["BUS_URL"], tls=identity.client_context(), error_cb=ignored,
                    allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0,
                )  # fmt: skip
                await client.flush()
        except (NatsError, OSError, TimeoutError):
            return False
        finally:
            with suppress(TimeoutError):  # it waits for the end of a connection that was refused, which may not come
                async with asyncio.timeout(1):
                    await client.close()
        return True


async def ignored(_error: Exception) -> None:
    """What is refused is told by the round trip."""


async def ended(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, TimeoutError):
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)
    if process.returncode is None:
        process.kill()
        await process.wait()


@asynccontextmanager
async def deployed(directory: Path, **settings: str) -> AsyncGenerator[Deployment]:
    deployment = Deployment(directory, settings)
    assert await (await deployment.certs("migrate")).wait() == 0
    try:
        yield deployment
    finally:
        await asyncio.gather(*map(ended, deployment.processes))


@asynccontextmanager
async def connected(deployment: Deployment, service: str, *, answers: bool = False) -> AsyncGenerator[Any]:
    identity = await deployment.joined(service)
    bus = Bus(service, deployment.environment["BUS_URL"], identity)

    async def say(request: Say) -> Say:
        await asyncio.sleep(0.002)
        return request

    if answers:
        bus.endpoint(f"svc.{service}.number.say", Say, say)
    await bus.start()
    renewer = Renewer(identity, bus, SYSTEM_CLOCK)
    following = TrustFollower(identity, bus, renewer, SYSTEM_CLOCK)
    tasks = [asyncio.create_task(renewer.run()), asyncio.create_task(following.run())]
    try:
        yield bus, identity
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bus.stop()


async def test_certs_serves_before_the_bus_is_there_and_fills_it_when_it_comes(tmp_path: Path) -> None:
    async with deployed(tmp_path) as deployment:
        await deployment.certs()
        await deployment.answers("/health", 200)
        await deployment.answers("/ready", 503)
        await deployment.joined("auth")
        await deployment.start_bus()
        await deployment.answers("/ready", 200)
        async with connected(deployment, "gateway") as (bus, identity):
            trust = await kv.get(bus, resources.TRUST, BUNDLE_KEY, TrustBundle)
            assert trust is not None
            assert trust.bundle.encode() == identity.bundle_path.read_bytes()
            leaves = (await bus.request(subjects.CERTS_LEAF_LIST, Empty(), LeafList)).leaves
        assert {leaf.identity for leaf in leaves} >= {"auth", "gateway", "certs", "bus"}


async def test_renewal_rotates_both_ends_and_the_bus_and_no_request_is_lost(tmp_path: Path) -> None:
    async with deployed(tmp_path, LEAF_LIFETIME="6", BUS_LEAF_LIFETIME="6") as deployment:
        await deployment.certs()
        await deployment.answers("/health", 200)
        await deployment.start_bus()
        await deployment.answers("/ready", 200)
        async with (
            connected(deployment, "auth", answers=True) as (_, auth),
            connected(deployment, "gateway") as (bus, gateway),
        ):
            certs = Identity("certs", DOMAIN, tmp_path / "certs")
            seen: dict[str, set[int]] = {}
            sent = 0
            async with asyncio.timeout(40):
                while min(map(len, seen.values()), default=0) < 3:
                    sent += 1
                    assert await bus.request("svc.auth.number.say", Say(sent), Say) == Say(sent)
                    for name, serial in {
                        "auth": auth.leaf.serial_number, "gateway": gateway.leaf.serial_number,
                        "certs": certs.leaf.serial_number, "bus": await deployment.bus_serial(gateway),
                    }.items():  # fmt: skip
                        seen.setdefault(name, set()).add(serial)
        assert sent > 100
        assert set(seen) == {"auth", "gateway", "certs", "bus"}


async def test_the_bus_reloads_though_it_was_away_when_its_certificate_was_renewed(tmp_path: Path) -> None:
    async with deployed(tmp_path) as deployment:
        first = await deployment.certs()
        await deployment.answers("/health", 200)
        bus = await deployment.start_bus()
        await deployment.answers("/ready", 200)
        gateway = await deployment.joined("gateway")
        before = await deployment.bus_serial(gateway)
        first.terminate()
        assert await first.wait() == 0
        (tmp_path / "bus" / "cert.pem").unlink()  # as if renewed by a certs that ended before the bus reloaded
        await deployment.certs()
        async with asyncio.timeout(60):
            while await deployment.bus_serial(gateway) == before:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.1)
        assert bus.returncode is None


async def test_a_revoked_service_is_off_the_bus_within_a_second_and_stays_off(tmp_path: Path) -> None:
    async with deployed(tmp_path) as deployment:
        await deployment.certs()
        await deployment.answers("/health", 200)
        await deployment.start_bus()
        await deployment.answers("/ready", 200)
        async with connected(deployment, "gateway") as (bus, _), connected(deployment, "auth") as (revoked, auth):
            serial = f"{auth.leaf.serial_number:x}"
            began = SYSTEM_CLOCK.monotonic()
            request = RevokeLeaf(ADMIN, serial, "key_compromise")
            done = await bus.request(subjects.CERTS_LEAF_REVOKE, request, CertificatesRevoked)
            await until(lambda: not revoked.connected, 5)
            assert SYSTEM_CLOCK.monotonic() - began < 1
            assert ([one.serial for one in done.revoked], done.connections_ended, done.enforced) == ([serial], 1, True)
            assert not await deployment.is_taken(auth)
            entry = await kv.get(
                bus, resources.REVOKED_CERTIFICATES, revoked_key(done.revoked[0].issuer, serial), RevokedCertificate
            )
            assert entry == done.revoked[0]
            assert bus.connected
            await bus.request(subjects.CERTS_IDENTITY_REVOKE, RevokeIdentity(ADMIN, "auth"), CertificatesRevoked)
            with pytest.raises(InterlockError, match="auth is revoked"):
                await deployment.joined("auth")
            await bus.request(subjects.CERTS_IDENTITY_REINSTATE, ReinstateIdentity(ADMIN, "auth"), Empty)
            assert await deployment.is_taken(await deployment.joined("auth"))


async def test_the_ca_rotates_under_calls_and_an_old_leaf_is_refused(tmp_path: Path) -> None:
    async with deployed(tmp_path, CA_ROTATION="manual") as deployment:
        await deployment.certs()
        await deployment.answers("/health", 200)
        await deployment.start_bus()
        await deployment.answers("/ready", 200)
        async with (
            connected(deployment, "auth", answers=True) as (_, auth),
            connected(deployment, "gateway") as (bus, gateway),
        ):
            sent, done = 0, asyncio.Event()

            async def call_on() -> None:
                nonlocal sent
                while not done.is_set():
                    sent += 1
                    assert await bus.request("svc.auth.number.say", Say(sent), Say) == Say(sent)

            async with asyncio.TaskGroup() as group:
                group.create_task(call_on())
                await taken(bus, "prepare")
                old = await deployment.joined("worker")  # below the old root, trusting both
                for step in STEPS[1:-1]:
                    await taken(bus, step)
                    assert await deployment.is_taken(old)
                status = await taken(bus, STEPS[-1])
                done.set()
            assert not await deployment.is_taken(old)
            assert [one.number for one in status.generations] == [2]
            assert {peer.leaf for peer in status.peers} == {2}
            roots = x509.load_pem_x509_certificates(gateway.bundle_path.read_bytes())
            assert [root.fingerprint(hashes.SHA256()).hex() for root in roots] == [
                status.generations[0].root_fingerprint.removeprefix("sha256:")
            ]
            assert await deployment.is_taken(auth)
            assert await deployment.is_taken(await deployment.joined("worker"))
        assert sent > 50


async def taken(bus: Bus, step: Step) -> AuthorityStatus:
    """A step, as soon as it is safe; the trust in it is there when everybody has confirmed."""
    request = RotateAuthority(ADMIN, step)
    status: AuthorityStatus | None = None
    async with asyncio.timeout(20):
        while status is None:
            with suppress(Conflict):  # somebody has not confirmed yet
                status = await bus.request(subjects.CERTS_AUTHORITY_ROTATE, request, AuthorityStatus, timeout=20)
        while any((peer.bundle or 0) < status.bundle for peer in status.peers):
            status = await bus.request(subjects.CERTS_AUTHORITY_STATUS, Page(ADMIN), AuthorityStatus)
    return status


async def test_certs_ends_on_a_signal_while_it_waits_for_the_bus(tmp_path: Path) -> None:
    async with deployed(tmp_path) as deployment:
        process = await deployment.certs()
        await deployment.answers("/ready", 503)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_a_broken_authority_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "issuing.crt").write_text("nonsense")
    async with deployed(tmp_path) as deployment:
        assert await (await deployment.certs()).wait() == 2
    [line] = [line for line in (tmp_path / "certs.log").read_text().splitlines() if line.startswith("error:")]
    assert "ca/root.crt cannot be read: No such file or directory; restore it from its backup" in line
