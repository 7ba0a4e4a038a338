"""An edge that asks for client certificates, beside the others of a deployment, and those who show it some."""

import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from interlock_cli.environment import child_environment
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.ports import choose_free
from interlock_gateway.certificates.peer import PeerCertificate
from interlock_gateway.testing.certificates import ClientCa
from stories.attackers import Ground, note_peer
from stories.deployment import MODULES, Deployment, answers_200, wait_for
from stories.load import modern_call
from stories.processes import module

PROXY = "front-proxy"


@dataclass(frozen=True)
class Held:
    """A certificate with its key, in a file."""

    certificate: x509.Certificate
    file: Path

    @property
    def thumbprint(self) -> str:
        """``x5t#S256``."""
        return PeerCertificate.of(self.certificate.public_bytes(Encoding.DER)).thumbprint

    @property
    def escaped(self) -> str:
        """As nginx and its kind pass it on."""
        return quote(self.certificate.public_bytes(Encoding.PEM).decode(), safe="")

    def chained(self, *above: x509.Certificate) -> "Held":
        """The same, shown with others above it."""
        file = self.file.with_suffix(".chain.pem")
        file.write_bytes(self.file.read_bytes() + b"".join(each.public_bytes(Encoding.PEM) for each in above))
        return Held(self.certificate, file)


@dataclass
class Front:
    """The edge, its client CA, and a CA of somebody else with the same name."""

    directory: Path
    ca: ClientCa = field(default_factory=lambda: ClientCa("Attacked Client CA"))
    foreign: ClientCa = field(default_factory=lambda: ClientCa("Attacked Client CA"))
    url: str = ""
    _count: int = 0

    def held(self, common_name: str | None, *, of: ClientCa | None = None, **said: Any) -> Held:
        """A new certificate of a CA, with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self.kept((of or self.ca).issue(common_name, key=key, **said), key)

    def kept(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Held:
        self._count += 1
        file = self.directory / f"held-{self._count}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        return Held(certificate, file)

    def expired(self, common_name: str) -> Held:
        begins = SYSTEM_CLOCK.now() - timedelta(days=3)
        return self.held(common_name, begins=begins, lifetime=timedelta(days=1))

    def start(self, deployment: Deployment, revoked: Held) -> None:
        """Start it; ``revoked`` is on the list of its CA."""
        bundle, listed = self.directory / "ca.pem", self.directory / "ca.crl"
        bundle.write_bytes(self.ca.pem)
        listed.write_bytes(self.ca.crl(revoked.certificate))
        health, public = choose_free(2)
        deployment.ports["gateway-tls"] = health
        environment = child_environment(deployment.placement, "gateway", "gateway-tls") | dict(deployment.extra) | {
            "PORT": str(public), "SSL": "true", "AUTO_CERT_DIR": str(self.directory / "front"), "AUTO_CERT_KEY": "p256",
            "CERT_REQS": "1", "CA_CERTS": str(bundle), "CLIENT_CA_CERTS": str(bundle), "CLIENT_CRL": str(listed),
            "CLIENT_CERT_AUTH": "true", "TRUST_PROXY_AUTH": "true", "PROXY_CERTIFICATES": PROXY,
        }  # fmt: skip
        log = deployment.state.log("gateway-tls")
        deployment.processes["gateway-tls"] = module(MODULES["gateway"], environment, log)
        wait_for(lambda: answers_200(f"http://127.0.0.1:{health}/ready"), "an edge that asks for certificates")
        self.url = f"https://127.0.0.1:{public}"

    def as_(self, held: Held | None, headers: Mapping[str, str] | None = None) -> AbstractContextManager[httpx.Client]:
        """A client that shows a certificate, or none; whom it talks to is not in question here."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if held is not None:
            context.load_cert_chain(held.file)
        hooks: dict[str, list[Any]] = {"response": [note_peer]}
        return httpx.Client(base_url=self.url, headers=headers, timeout=15, verify=context, event_hooks=hooks)

    def call(
        self, held: Held | None, headers: Mapping[str, str] | list[tuple[str, str]], marker: str
    ) -> httpx.Response:
        """Call a tool that would leave ``marker`` behind."""
        said, body = modern_call("notes-add_note", {"text": marker}, 1)
        sent = httpx.Headers(headers)
        sent.update(said)
        with self.as_(held) as client:
            return client.post("/mcp", headers=sent, json=body)


def standing_front(ground: Ground, directory: Path) -> tuple[Front, Held]:
    """The edge, started, and a certificate of alice's that its CA has revoked."""
    front = Front(directory)
    revoked = front.held(ground.alice.name)
    front.start(ground.stage.deployment, revoked)
    return front, revoked
