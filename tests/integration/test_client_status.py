"""Clients with certificates of our own CA: the edges ask its OCSP responder, and take nothing else for an answer."""

import ssl
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from interlock_common.ports import choose_free
from interlock_common.testing.chains import ChainAuthority
from stories.deployment import Deployment
from stories.stage import Stage, set_up


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    directory: Path = tmp_path_factory.mktemp("status")
    front = ChainAuthority.root("front")
    (directory / "front.pem").write_bytes(front.pem)
    front.issue("edge").write(directory)
    (port,) = choose_free(1)
    # Only certs listens there; it makes the bundle before the first edge starts.
    bundle = Deployment(directory / "deployment", containers=False).state.identity("certs") / "bundle.pem"
    extra = {
        "CERT_FILE": str(directory / "cert.pem"), "KEY_FILE": str(directory / "key.pem"), "CERT_REQS": "1",
        "CA_CERTS": str(bundle), "CLIENT_CERT_AUTH": "true", "CLIENT_CERT_IDENTITY": "uri=spiffe://interlock.local/svc/*->*",
        "CLIENT_OCSP": "hard", "STATUS_PORT": str(port), "STATUS_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    with set_up(directory / "deployment", containers=containers, extra=extra, ca=directory / "front.pem") as ready:
        with ready.deployment.rest(ready.token) as admin:
            for name in ("plugins", "audit"):
                admin.post("/users", json={"name": name, "kind": "service"}).raise_for_status()
        yield ready


def shown_by(stage: Stage, service: str) -> httpx.Response:
    """What the edge says to a client with the certificate of a service."""
    deployment = stage.deployment
    context = ssl.create_default_context(cafile=deployment.ca)
    identity = deployment.state.identity(service)
    context.load_cert_chain(identity / "cert.pem", identity / "key.pem")
    with httpx.Client(base_url=deployment.url, verify=context, timeout=20) as http:
        return http.get("/auth/certificate")


def test_a_certificate_counts_when_our_responder_says_so_and_not_when_nobody_says_anything(asking: Stage) -> None:
    answer = shown_by(asking, "plugins")
    assert answer.status_code == 200, answer.text
    shown = x509.load_pem_x509_certificate((asking.deployment.state.identity("plugins") / "cert.pem").read_bytes())
    assert answer.json()["serial"] == f"{shown.serial_number:x}"
    asking.deployment.kill("certs")
    assert shown_by(asking, "plugins").status_code == 200, "what was said counts until it ends"
    refused = shown_by(asking, "audit")
    assert refused.status_code == 401
    assert refused.json()["type"] == "urn:interlock:error:certificate_status_unknown"
