"""nginx, in a container, staples what the responder says of its certificate."""

import asyncio
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import status_api, store
from interlock_certs.authority import Leaf
from interlock_certs.profiles import Grant, named
from interlock_certs.testing import DAY, CaWorld
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.database import transaction
from interlock_common.enrolment import key_pem, new_key
from interlock_common.ports import choose_free

IMAGE = os.environ.get("NGINX_IMAGE", "nginx:stable-alpine")
_PEM = Encoding.PEM
_CONFIG = """
events {{ }}
http {{
  server {{
    listen 8443 ssl;
    ssl_certificate /given/chain.pem;
    ssl_certificate_key /given/key.pem;
    ssl_stapling on;
    ssl_stapling_verify on;
    ssl_trusted_certificate /given/trust.pem;
    ssl_stapling_responder {url}/ocsp;
    return 204;
  }}
}}
"""


@pytest.fixture
def host() -> str:
    """The address by which a container reaches this machine."""
    if os.environ.get("INTERLOCK_TEST_DOCKER", "1") == "0":
        pytest.skip("INTERLOCK_TEST_DOCKER is 0")
    asked = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no Docker engine answers")
    return found.stdout.strip()


@pytest.fixture
def containers() -> Generator[list[str]]:
    names: list[str] = []
    yield names
    for name in names:
        subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)


async def front(ca: CaWorld, directory: Path) -> Leaf:
    """A leaf for localhost with its key, as the files of nginx."""
    key: ec.EllipticCurvePrivateKey = new_key()
    leaf = ca.generations.issue("nginx", key.public_key(), Grant(DAY, named(("localhost",))))
    async with transaction(ca.engine) as session:
        await store.add_leaf(session, leaf, renewal=False)
    root = ca.generations.active.root
    (directory / "chain.pem").write_bytes(leaf.chain_pem)
    (directory / "key.pem").write_bytes(key_pem(key))
    (directory / "trust.pem").write_bytes(root.public_bytes(_PEM) + leaf.issuer.public_bytes(_PEM))
    return leaf


async def handshake(port: int) -> str:
    """What openssl says of a handshake in which it asks for the status of the certificate."""
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-status",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(20):
        said, _ = await process.communicate()
    return said.decode(errors="replace")


@pytest.mark.docker
async def test_nginx_staples_the_answer_of_the_responder(
    tmp_path: Path, engine: AsyncEngine, host: str, containers: list[str]
) -> None:
    status_port, port = choose_free(2)
    ca = CaWorld(tmp_path, engine, SYSTEM_CLOCK)
    await ca.generations.load()
    given = tmp_path / "given"
    given.mkdir()
    leaf = await front(ca, given)
    (given / "nginx.conf").write_text(_CONFIG.format(url=f"http://{host}:{status_port}"))
    routes = status_api.router(ca.generations, ca.crls, ca.ocsp, SYSTEM_CLOCK)
    server = status_api.StatusListener(status_api.create_app(routes))
    socket = status_api.listen("0.0.0.0", status_port)  # containers reach it by the bridge
    serving = asyncio.create_task(server.serve(sockets=[socket]))
    containers.append(f"interlock-stapling-{port}")
    command = [
        "docker", "run", "--detach", "--name", containers[0], "--publish", f"127.0.0.1:{port}:8443",
        "--volume", f"{given}:/given:ro", IMAGE, "nginx", "-c", "/given/nginx.conf", "-g", "daemon off;",
    ]  # fmt: skip
    try:
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        async with asyncio.timeout(40):  # nginx asks when the first client wants it, and staples from the next on
            while "OCSP Response Status: successful" not in (said := await handshake(port)):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        server.should_exit = True
        await serving
        socket.close()
    assert "Cert Status: good" in said
    assert f"Serial Number: {leaf.serial.upper().zfill(len(leaf.serial) + len(leaf.serial) % 2)}" in said
