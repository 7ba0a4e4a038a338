"""A whole deployment for the stories: every service a process of its own, beside a real bus and real databases.

Where a Docker engine answers, nats-server and PostgreSQL run in containers (testcontainers); otherwise the
nats-server of the environment and SQLite take their place, and the header of the test run says so.
"""

import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer

from interlock_cli.bus_config import render_bus_config
from interlock_cli.environment import Placement, child_environment
from interlock_cli.state import State
from interlock_common.nats_server import nats_server_binary
from interlock_common.ports import choose_free
from stories.processes import Executed, Forked, Process, module

ROOT = Path(__file__).parents[3]
NATS_IMAGE = os.environ.get("NATS_IMAGE", "nats:2.15-alpine")
POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE", "postgres:17")
MODULES = {
    "certs": "interlock_certs",
    "auth": "interlock_auth",
    "plugins": "interlock_plugins",
    "audit": "interlock_audit",
    "catalog": "interlock_gateway.catalog",
    "connector": "interlock_gateway.connector",
    "gateway": "interlock_gateway",
}
WITH_DATABASE = ("certs", "auth", "audit", "catalog")
_START_SECONDS = 90.0
PLUGINS = ROOT / "tests" / "integration" / "plugins.yaml"


@cache
def docker_answers() -> bool:
    """Whether containers may be used: an engine answers, and ``INTERLOCK_TEST_DOCKER`` does not say 0.

    Asked in a process of its own: where no engine listens, the docker library leaves its socket open, and that
    comes up as a warning in whichever test the garbage is collected.
    """
    if os.environ.get("INTERLOCK_TEST_DOCKER", "1") == "0":
        return False
    ping = [sys.executable, "-c", "import docker; docker.from_env(timeout=3).ping()"]
    return subprocess.run(ping, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def wait_for(condition: Callable[[], bool], what: str, timeout: float = _START_SECONDS) -> None:
    """Return when ``condition`` holds; fail naming ``what`` did not come about."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {timeout:g} s")
        time.sleep(0.05)


def answers_200(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - a loopback address of ours
            return answer.status == 200
    except OSError:
        return False


@dataclass
class Deployment:
    """Start it, ask it over REST and MCP as its users do, break it, stop it.

    With ``ca`` the edges speak TLS, with a certificate that this file verifies.
    """

    directory: Path
    containers: bool
    extra: Mapping[str, str] = field(default_factory=dict[str, str])
    gateways: int = 1
    ca: Path | None = None
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    _bus: Executed | DockerContainer | None = None
    _postgres: PostgresContainer | None = None

    def __post_init__(self) -> None:
        self.state = State(self.directory / "state")
        self.state.prepare()
        edges = ["gateway", *(f"gateway-{n}" for n in range(2, self.gateways + 1))]
        names = ["bus", "enrolment", *(name for name in MODULES if name != "gateway"), *edges, "public"]
        self.ports = dict(zip(names, choose_free(len(names)), strict=True))
        self.placement = Placement(self.state, self.ports, "127.0.0.1", self.ports["public"], tls=self.ca is not None)
        self.edges = edges

    @property
    def url(self) -> str:
        return self.placement.url

    def start(self) -> None:
        if self.containers:
            self._postgres = PostgresContainer(POSTGRES_IMAGE, username="interlock", password="interlock", driver=None)
            self._postgres.start()
            for name in WITH_DATABASE:
                self._postgres.exec(["createdb", "-U", "interlock", name])
        self.start_process("certs", "certs")
        wait_for(lambda: self.healthy("certs"), "a healthy certs")
        self.start_bus()
        for name in MODULES:
            if name not in {"certs", "gateway"}:
                self.start_process(name, name)
        for edge in self.edges:
            self.start_process("gateway", edge)
        self.wait_ready()

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            if not process.wait(15):
                process.kill()
                process.wait(5)
        self.stop_bus()
        if self._postgres is not None:
            self._postgres.stop()

    def start_process(self, service: str, instance: str) -> None:
        environment, log = self._environment(service, instance), self.state.log(instance)
        if service == "gateway":
            self.processes[instance] = module(MODULES[service], environment, log)
        else:
            self.processes[instance] = Forked(MODULES[service], environment, log, migrate=service in WITH_DATABASE)

    def kill(self, instance: str) -> None:
        """End a process as a power cut would."""
        process = self.processes.pop(instance)
        process.kill()
        process.wait(5)

    def start_bus(self) -> None:
        config = render_bus_config(self.placement)
        if not self.containers:
            self.state.nats_config.write_text(config)
            command = [nats_server_binary(), "-c", str(self.state.nats_config)]
            self._bus = Executed(command, os.environ, self.state.log("bus"))
            return
        port, store = self.ports["bus"], str(self.state.jetstream)
        self.state.nats_config.write_text(config.replace(f"127.0.0.1:{port}", f"0.0.0.0:{port}"))
        container = DockerContainer(NATS_IMAGE, user=str(os.getuid())).with_bind_ports(port, port)
        for path, mode in ((self.state.bus, "ro"), (self.state.nats_config, "ro"), (Path(store), "rw")):
            container.with_volume_mapping(str(path), str(path), mode)
        self._bus = container.with_command(f"-c {self.state.nats_config}").start()

    def stop_bus(self) -> None:
        if isinstance(self._bus, Executed):
            self._bus.kill()
            self._bus.wait(5)
        elif self._bus is not None:
            self._bus.get_wrapped_container().kill()
            self._bus.stop()
        self._bus = None

    def pause_database(self) -> None:
        """Make PostgreSQL stop answering without closing a connection; SQLite has nothing to pause."""
        if self._postgres is not None:
            self._postgres.get_wrapped_container().pause()

    def resume_database(self) -> None:
        if self._postgres is not None:
            self._postgres.get_wrapped_container().unpause()

    def wait_ready(self) -> None:
        for instance in self.processes:
            wait_for(
                lambda instance=instance: self._ready(instance), f"a ready {instance} (see {self.state.root}/logs)"
            )

    def healthy(self, instance: str) -> bool:
        return answers_200(f"http://127.0.0.1:{self.ports[instance]}/health")

    def rest(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=15, verify=self.trust)

    @property
    def trust(self) -> ssl.SSLContext:
        """For clients of the edges."""
        return ssl.create_default_context(cafile=self.ca)

    def administrator_token(self) -> str:
        with self.rest() as client:
            body = {"email": "admin@example.com", "password": self.state.admin_password.read_text()}
            answer = client.post("/auth/login", json=body)
            return answer.raise_for_status().json()["access_token"]

    def register(self, token: str, name: str, url: str) -> dict[str, Any]:
        with self.rest(token) as client:
            return client.post("/gateways", json={"name": name, "url": url}).raise_for_status().json()

    def _ready(self, instance: str) -> bool:
        if (code := self.processes[instance].exit_code()) is not None:
            last = self.state.log(instance).read_text()[-2000:]
            raise RuntimeError(f"{instance} ended with {code}: {last}")
        return answers_200(f"http://127.0.0.1:{self.ports[instance]}/ready")

    def _environment(self, service: str, instance: str) -> dict[str, str]:
        environment = child_environment(self.placement, service, instance)
        if self._postgres is not None and service in WITH_DATABASE:
            host, port = self._postgres.get_container_host_ip(), self._postgres.get_exposed_port(5432)
            environment["DATABASE_URL"] = f"postgresql://interlock:interlock@{host}:{port}/{service}"
        return environment | {"PLUGINS_CONFIG_PATH": str(PLUGINS)} | dict(self.extra)
