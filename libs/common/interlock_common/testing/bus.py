"""A real nats-server with mutual TLS and the real permissions, for tests."""

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from interlock_common.bus import Bus
from interlock_common.messages.access import render_accounts, spiffe_id
from interlock_common.nats_server import nats_server_binary
from interlock_common.ports import choose_free
from interlock_common.testing.pki import ScratchAuthority

TRUST_DOMAIN = "interlock.test"
_START_SECONDS = 10.0


def free_port() -> int:
    """A port that was free a moment ago."""
    return choose_free(1)[0]


@dataclass
class ScratchIdentity:
    """A service identity issued by the scratch authority, as files in its own folder."""

    directory: Path

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.directory / "bundle.pem"))
        context.load_cert_chain(self.directory / "cert.pem", self.directory / "key.pem")
        return context


@dataclass
class EmbeddedBus:
    """One nats-server process; ``identity`` and ``bus`` hand out what services would have.

    Not ``durable``, it syncs now and then: for measurements that need it filled quickly.
    """

    directory: Path
    authority: ScratchAuthority = field(default_factory=ScratchAuthority)
    port: int = field(default_factory=free_port)
    durable: bool = True
    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    def identity(self, service: str, lifetime: timedelta = timedelta(hours=1)) -> ScratchIdentity:
        directory = self.directory / "identities" / service
        directory.mkdir(parents=True, exist_ok=True)
        key, chain = self.authority.issue(spiffe=spiffe_id(TRUST_DOMAIN, service), lifetime=lifetime)
        (directory / "key.pem").write_bytes(key)
        (directory / "cert.pem").write_bytes(chain)
        (directory / "bundle.pem").write_bytes(self.authority.bundle_pem)
        return ScratchIdentity(directory)

    def bus(self, service: str) -> Bus:
        """A bus of ``service``, not started yet."""
        return Bus(service, self.url, self.identity(service))

    async def start(self) -> None:
        config = self._write_config()
        self._process = await asyncio.create_subprocess_exec(
            nats_server_binary(), "-c", str(config), "-l", str(self.directory / "nats.log")
        )
        async with asyncio.timeout(_START_SECONDS):
            while not await _accepts(self.port):
                if self._process.returncode is not None:
                    raise RuntimeError((self.directory / "nats.log").read_text())
                await asyncio.sleep(0.02)

    async def stop(self, *, kill: bool = False) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.kill() if kill else self._process.terminate()
        await self._process.wait()

    def _write_config(self) -> Path:
        key, chain = self.authority.issue(
            spiffe=spiffe_id(TRUST_DOMAIN, "bus"),
            dns=["localhost"],
            ips=["127.0.0.1"],
            lifetime=timedelta(hours=1),
        )
        (self.directory / "bus-key.pem").write_bytes(key)
        (self.directory / "bus-cert.pem").write_bytes(chain)
        (self.directory / "bundle.pem").write_bytes(self.authority.bundle_pem)
        config = self.directory / "nats.conf"
        sync = ", sync_interval: always" if self.durable else ""
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'tls {{ cert_file: "{self.directory}/bus-cert.pem", key_file: "{self.directory}/bus-key.pem",\n'
            f'  ca_file: "{self.directory}/bundle.pem", verify_and_map: true }}\n'
            f'jetstream {{ store_dir: "{self.directory}/jetstream"{sync} }}\n' + render_accounts(TRUST_DOMAIN)
        )
        return config


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
