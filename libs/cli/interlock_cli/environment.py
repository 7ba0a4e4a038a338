"""The environment of each process: where in the state folder it finds what, and which ports are its own.

Whatever the caller's environment says otherwise (``JWT_ALGORITHM``, ``PLUGINS_CONFIG_PATH``, ``OTEL_…``) is
passed on; what places a process in the state folder is decided here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interlock_cli.ports import HOST
from interlock_cli.state import State

ADMINISTRATOR = "admin@example.com"
_DATABASES = frozenset({"auth", "catalog", "certs", "audit"})
_SEALING = frozenset({"auth", "gateway", "catalog", "connector"})


@dataclass(frozen=True)
class Placement:
    """What the processes of one stack need to know of each other; with ``tls`` the gateway speaks nothing else."""

    state: State
    ports: Mapping[str, int]
    host: str
    port: int
    tls: bool = False
    sans: tuple[str, ...] = ()

    @property
    def bus_url(self) -> str:
        return f"tls://{HOST}:{self.ports['bus']}"

    @property
    def enrolment_url(self) -> str:
        return f"https://{HOST}:{self.ports['enrolment']}"

    @property
    def url(self) -> str:
        """Where the gateway is reached from this machine."""
        host = {"0.0.0.0": HOST, "::": "[::1]"}.get(self.host, self.host)
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def ca(self) -> Path | None:
        """What clients of this machine trust: the certificate of the caller, else the one the edges make."""
        if not self.tls:
            return None
        return Path(os.environ.get("CERT_FILE") or self.state.front / "cert.pem").absolute()


def child_environment(placement: Placement, service: str, instance: str) -> dict[str, str]:
    """The environment of ``instance`` (``gateway-2``) of ``service`` (``gateway``)."""
    state = placement.state
    environment = {
        **os.environ,
        "ENVIRONMENT": "development",
        "TRUST_DOMAIN": state.trust_domain,
        "BUS_URL": placement.bus_url,
        "ENROLMENT_URL": placement.enrolment_url,
        "JOIN_DIR": str(state.join / service),
        "IDENTITY_DIR": str(state.identity(instance)),
        "HEALTH_HOST": HOST,
        "HEALTH_PORT": str(placement.ports[instance]),
    }
    if service in _DATABASES:
        environment["DATABASE_URL"] = state.database_url(service)
    if service in _SEALING:  # an empty variable counts as unset: the file decides
        environment["AUTH_ENCRYPTION_SECRET"] = ""
        environment["AUTH_ENCRYPTION_SECRET_FILE"] = str(state.encryption_secret)
    return environment | _of_service(placement, service)


def _of_service(placement: Placement, service: str) -> dict[str, str]:
    state = placement.state
    match service:
        case "certs":
            return {
                "CA_DIR": str(state.ca),
                "JOIN_DROP_DIR": str(state.join),
                "BUS_IDENTITY_DIR": str(state.bus),
                "ENROLMENT_HOST": HOST,
                "ENROLMENT_PORT": str(placement.ports["enrolment"]),
            }
        case "auth":
            return {
                "KEY_DIR": str(state.keys / "auth"),
                "PLATFORM_ADMIN_EMAIL": os.environ.get("PLATFORM_ADMIN_EMAIL", ADMINISTRATOR),
                "PLATFORM_ADMIN_PASSWORD": "",  # an empty variable counts as unset: the file decides
                "PLATFORM_ADMIN_PASSWORD_FILE": str(state.admin_password),
                "ALLOW_PRIVATE_ISSUERS": os.environ.get("ALLOW_PRIVATE_ISSUERS", "true"),
            }
        case "audit":
            return {"KEY_DIR": str(state.keys / "audit"), "TILES_DIR": str(state.tiles)}
        case "catalog":
            return {"ALLOW_PRIVATE_UPSTREAMS": "true"}
        case "gateway":
            return _of_front(placement) | {
                "ALLOW_PRIVATE_UPSTREAMS": "true",
                "HOST": placement.host,
                "PORT": str(placement.port),
                "AUDIT_DIGEST_KEY": "",
                "AUDIT_DIGEST_KEY_FILE": str(state.audit_digest_key),
            }
        case _:
            return {}


def _of_front(placement: Placement) -> dict[str, str]:
    """TLS of the gateway; the edges share the certificate that one of them makes."""
    if not placement.tls:
        return {"SSL": "false"}
    listed = os.environ.get("AUTO_CERT_SANS", "")
    names = [name for name in (*placement.sans, *listed.split(",")) if name.strip()]
    return {"SSL": "true", "AUTO_CERT_DIR": str(placement.state.front), "AUTO_CERT_SANS": ",".join(names)}
