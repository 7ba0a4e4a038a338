"""The profile ``tls`` of the stack that the other stories have started: nginx before the gateway.

The stories run from top to bottom: first with nothing configured, then with a certificate of one's own and TLS on
both hops.
"""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from interlock_common.testing.chains import ChainAuthority, Pair
from stories.compose import Stack, free_port, log_in, rest
from stories.load import modern_call

TOOL = "diary-search_notes"
PASSPHRASE = "correct horse battery staple"
BOTH_HOPS = ("-f", "docker-compose.yml", "-f", "docker-compose.tls-gateway.yml")

pytestmark = pytest.mark.docker


@dataclass(frozen=True)
class Tls:
    """The stack with the profile; ``certs`` is the folder of whoever runs it."""

    stack: Stack
    certs: Path
    http_port: int = field(default_factory=free_port)
    https_port: int = field(default_factory=free_port)

    @property
    def plain(self) -> str:
        return f"http://localhost:{self.http_port}"

    @property
    def secure(self) -> str:
        return f"https://localhost:{self.https_port}"

    @contextmanager
    def settings(self, **more: str) -> Generator[None]:
        said = {
            "CERTS_DIR": str(self.certs), "HTTP_PORT": str(self.http_port), "HTTPS_PORT": str(self.https_port), **more,
        }  # fmt: skip
        with pytest.MonkeyPatch.context() as environment:
            for name, value in said.items():
                environment.setenv(name, value)
            yield

    def client(self, ca: Path) -> httpx.Client:
        return httpx.Client(verify=ssl.create_default_context(cafile=ca), timeout=30)


@pytest.fixture(scope="module")
def tls(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Generator[Tls]:
    tls = Tls(stack, tmp_path_factory.mktemp("certs"))
    yield tls
    with tls.settings():
        stack.compose(*BOTH_HOPS, "--profile", "tls", "down", "--volumes", "--rmi", "all", "--timeout", "10")


def up(tls: Tls, *files: str, **settings: str) -> None:
    with tls.settings(**settings):
        tls.stack.compose("--profile", "tls", "build", "cert_init", "nginx")
        tls.stack.compose(*files, "--profile", "tls", "up", "--wait", "--no-build")


def call(http: httpx.Client, base: str, token: str) -> int:
    headers, body = modern_call(TOOL, {"query": "x"}, 3)
    return http.post(f"{base}/mcp", headers=headers | {"Authorization": f"Bearer {token}"}, json=body).status_code


def container_of(tls: Tls, service: str) -> dict[str, Any]:
    return tls.stack.containers()[f"{service}-1"]


async def test_with_nothing_configured_http_and_https_are_served(tls: Tls, upstream: str) -> None:
    up(tls)

    made = x509.load_pem_x509_certificate((tls.certs / "cert.pem").read_bytes())
    assert round((made.not_valid_after_utc - made.not_valid_before_utc).total_seconds() / 86400) == 365
    assert (tls.certs / "key.pem").stat().st_mode & 0o077 == 0
    token = await log_in(tls.stack)
    await rest(tls.stack, "/gateways", {"name": "diary", "url": upstream}, token)
    with tls.client(tls.certs / "cert.pem") as http:
        for base in (tls.plain, tls.secure):
            answer = http.get(f"{base}/health")
            assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
            assert call(http, base, token) == 200
        assert "strict-transport-security" in http.get(f"{tls.secure}/health").headers


def test_the_front_holds_no_rights_and_cannot_change_its_certificates(tls: Tls) -> None:
    nginx = container_of(tls, "nginx")
    host = nginx["HostConfig"]
    assert (nginx["Config"]["User"], host["ReadonlyRootfs"], host["CapDrop"]) == ("1001:0", True, ["ALL"])
    assert [(mount["Destination"], mount["RW"]) for mount in nginx["Mounts"]] == [("/etc/interlock/tls", False)]
    published = {binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings}
    assert published == {"127.0.0.1"}
    assert container_of(tls, "cert_init")["HostConfig"]["NetworkMode"] == "none"


async def test_a_certificate_of_ones_own_with_an_encrypted_key_and_tls_on_both_hops(tls: Tls) -> None:
    root = ChainAuthority.root("ours")
    own: Pair = root.issue("front")
    encrypted = own.encrypted(PASSPHRASE)
    (tls.certs / "key.pem").unlink()
    (tls.certs / "cert.pem").write_bytes(own.chain)
    (tls.certs / "key-encrypted.pem").write_bytes(encrypted)
    ca = tls.certs.parent / "ours.pem"
    ca.write_bytes(root.pem)

    token = await log_in(tls.stack)
    up(tls, *BOTH_HOPS, KEY_FILE_PASSWORD=PASSPHRASE, NGINX_FORCE_HTTPS="true")

    assert (tls.certs / "key-encrypted.pem").read_bytes() == encrypted
    assert (tls.certs / "cert.pem").read_bytes() == own.chain
    assert not (tls.certs / "key.pem").exists()
    with tls.client(ca) as http:
        assert call(http, tls.secure, token) == 200
        redirected = http.get(f"{tls.plain}/admin?x=1")
        assert (redirected.status_code, redirected.headers["location"]) == (308, f"{tls.secure}/admin?x=1")
        plain = http.get(f"{tls.stack.url}/health")
        assert (plain.status_code, "HTTPS" in plain.text) == (400, True), "the gateway speaks TLS now"
