"""The shipped front ends of ``deploy/``, run as they are, without root, on a read-only root file system."""

import subprocess
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from testcontainers.core.container import DockerContainer

from stories.deployment import ROOT

TLS = "/etc/interlock/tls"
_GATEWAY = "gateway:4444"


def _as_it_is(config: str, _gateway: str) -> str:
    return config


def _at(config: str, gateway: str) -> str:
    """Envoy reads no environment: its gateway stands in the file."""
    host, port = gateway.split(":")
    was = "socket_address: { address: gateway, port_value: 4444 }"
    assert config.count(was) == 1
    return config.replace(was, f"socket_address: {{ address: {host}, port_value: {port} }}")


@dataclass(frozen=True)
class Product:
    """A front end: what it is configured with, and where its image looks for that."""

    name: str
    image: str
    folder: str
    place: str
    command: str | None = None
    placed: Callable[[str, str], str] = field(default=_as_it_is)


PRODUCTS = (
    Product("nginx", "nginx:stable", "nginx", "/etc/nginx/interlock", "/etc/nginx/interlock/start.sh"),
    Product("caddy", "caddy:2", "caddy", "/etc/caddy"),
    Product("haproxy", "haproxy:3.0", "haproxy", "/usr/local/etc/haproxy"),
    Product("envoy", "envoyproxy/envoy:distroless-v1.40-latest", "envoy", "/etc/envoy", placed=_at),
)


@cache
def is_here(image: str) -> bool:
    """Whether the engine has the image already: nothing is fetched for a test."""
    inspect = ["docker", "image", "inspect", image]
    try:
        done = subprocess.run(inspect, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@dataclass(frozen=True)
class Front:
    """A running one, at ``https://localhost:<port>``."""

    product: Product
    container: DockerContainer
    port: int
    plain_port: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def address(self) -> str:
        """Its own, as the gateway sees it."""
        wrapped = self.container.get_wrapped_container()
        wrapped.reload()
        networks = wrapped.attrs["NetworkSettings"]["Networks"]
        return next(iter(networks.values()))["IPAddress"]

    def logs(self) -> str:
        return "".join(part.decode(errors="replace") for part in self.container.get_logs())


@contextmanager
def running(
    product: Product, directory: Path, tls: Path, gateway_port: int, settings: Mapping[str, str] | None = None
) -> Generator[Front]:
    """Start one before the gateway that listens on ``gateway_port`` of this machine, with the files in ``tls``."""
    config = directory / product.name
    config.mkdir(parents=True)
    gateway = _GATEWAY.replace("4444", str(gateway_port))
    for source in (ROOT / "deploy" / product.folder).iterdir():
        (config / source.name).write_text(product.placed(source.read_text(), gateway))
        (config / source.name).chmod(source.stat().st_mode | 0o444)
    for folder in (config, tls):
        folder.chmod(0o755)
    container = (
        DockerContainer(product.image)
        .with_exposed_ports(8443, 8080)
        .with_volume_mapping(str(config), product.place, "ro")
        .with_volume_mapping(str(tls), TLS, "ro")
        .with_env("GATEWAY", gateway)
        .with_tmpfs_mount("/tmp")  # noqa: S108 - in the container
        .with_kwargs(
            user="1001:0",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            extra_hosts={"gateway": "host-gateway"},
        )
    )
    for name, value in (settings or {}).items():
        container.with_env(name, value)
    if product.command is not None:
        container.with_command(product.command)
    with container:
        ports = (int(container.get_exposed_port(port)) for port in (8443, 8080))
        yield Front(product, container, *ports)
