"""PostgreSQL that demands a certificate of the deployment's CA, in a container."""

import asyncio
import os
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import async_url, open_engine, shows_identity
from interlock_common.errors import ConfigurationError
from interlock_common.identity import Identity
from interlock_common.messages.access import spiffe_id
from interlock_common.ports import choose_free
from interlock_common.testing.pki import ScratchAuthority

DOMAIN = "interlock.test"
IMAGE = os.environ.get("POSTGRES_IMAGE", "postgres:17")
_ANSWERS = """
set -e
cp /given/* /var/lib/postgresql/ && cd /var/lib/postgresql && chown postgres: *.pem pg_hba.conf && chmod 600 key.pem
exec docker-entrypoint.sh postgres -c ssl=on -c ssl_cert_file=$PWD/cert.pem -c ssl_key_file=$PWD/key.pem \
  -c ssl_ca_file=$PWD/bundle.pem -c hba_file=$PWD/pg_hba.conf
"""
_HBA = "local all all trust\nhostssl all all all scram-sha-256 clientcert=verify-ca\n"


def test_an_address_says_whether_connections_show_the_certificate_of_the_service() -> None:
    assert shows_identity("postgresql://u:p@db/auth?tls=identity")
    assert not shows_identity("postgresql://u:p@db/auth")
    assert async_url("postgresql://u:p@db/auth?tls=identity") == "postgresql+asyncpg://u:p@db/auth"
    with pytest.raises(ConfigurationError, match="DATABASE_URL may say tls=identity"):
        shows_identity("postgresql://u:p@db/auth?tls=maybe")
    with pytest.raises(ConfigurationError, match="there is no identity to show here"):
        open_engine("postgresql://u:p@db/auth?tls=identity")


@dataclass
class Demanding:
    """A PostgreSQL that takes the password over TLS from whoever shows a certificate, and nothing else."""

    authority: ScratchAuthority
    port: int

    def engine(self, identity: Identity | None, tls: str = "?tls=identity") -> AsyncEngine:
        return open_engine(f"postgresql://postgres:secret@127.0.0.1:{self.port}/postgres{tls}", identity)

    def identity(self, directory: Path, authority: ScratchAuthority | None = None) -> Identity:
        identity = Identity("auth", DOMAIN, directory)
        issuing = authority or self.authority
        key, chain = issuing.issue(spiffe=spiffe_id(DOMAIN, "auth"), lifetime=timedelta(hours=1))
        identity.install(key, chain, issuing.bundle_pem)
        return identity


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Generator[Demanding]:
    if (
        os.environ.get("INTERLOCK_TEST_DOCKER", "1") == "0"
        or subprocess.run(["docker", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine answers")
    given, authority = tmp_path_factory.mktemp("postgres"), ScratchAuthority()
    key, chain = authority.issue(spiffe=spiffe_id(DOMAIN, "postgres"), ips=["127.0.0.1"])
    files = {"key.pem": key, "cert.pem": chain, "bundle.pem": authority.bundle_pem, "pg_hba.conf": _HBA.encode()}
    for name, content in files.items():
        (given / name).write_bytes(content)
    (port,) = choose_free(1)
    name = f"interlock-tls-{port}"
    subprocess.run(
        ["docker", "run", "--detach", "--rm", "--name", name, "--publish", f"127.0.0.1:{port}:5432",
         "--volume", f"{given}:/given:ro", "--env", "POSTGRES_PASSWORD=secret", "--entrypoint", "sh", IMAGE,
         "-c", _ANSWERS],
        check=True, capture_output=True,
    )  # fmt: skip
    yield Demanding(authority, port)
    subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)


async def shown(engine: AsyncEngine) -> str:
    """The serial number of the certificate that a connection shows."""
    query = text("SELECT client_serial::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    async with engine.connect() as connection:
        return str((await connection.execute(query)).scalar_one())


async def answered(demanding: Demanding, identity: Identity) -> AsyncEngine:
    engine = demanding.engine(identity)
    async with asyncio.timeout(60):
        while True:
            try:
                await shown(engine)
            except (OSError, Exception) as error:
                if "starting up" not in str(error) and not isinstance(error, OSError):
                    raise
                await asyncio.sleep(0.2)
            else:
                return engine


@pytest.mark.docker
async def test_a_new_connection_shows_the_certificate_of_that_moment(demanding: Demanding, tmp_path: Path) -> None:
    identity = demanding.identity(tmp_path / "auth")
    engine = await answered(demanding, identity)
    assert await shown(engine) == str(identity.leaf.serial_number)
    demanding.identity(tmp_path / "auth")  # renewed
    await engine.dispose()
    assert await shown(engine) == str(identity.leaf.serial_number)
    await engine.dispose()


@pytest.mark.docker
async def test_without_a_certificate_of_the_deployment_the_password_opens_nothing(
    demanding: Demanding, tmp_path: Path
) -> None:
    await (await answered(demanding, demanding.identity(tmp_path / "auth"))).dispose()
    stranger = demanding.identity(tmp_path / "stranger", ScratchAuthority("stranger"))
    stranger.bundle_path.write_bytes(demanding.authority.bundle_pem)
    for engine in (demanding.engine(None, tls=""), demanding.engine(stranger)):
        with pytest.raises(Exception, match=r"certificate|alert|no pg_hba.conf entry|closed"):
            await shown(engine)
        await engine.dispose()
