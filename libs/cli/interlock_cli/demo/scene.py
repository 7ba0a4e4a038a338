"""What the checks of the demo work with: a running stack, two upstreams behind it, and what came before."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from interlock_cli.demo.background import BackgroundCalls
from interlock_cli.demo.clients import Rest
from interlock_cli.demo.otlp import OtlpReceiver
from interlock_cli.environment import Placement
from interlock_cli.errors import StateUnusable
from interlock_cli.probing import wait_until_listening
from interlock_cli.processes import Executed, Launch, execute, stop
from interlock_cli.state import State
from interlock_common.ports import choose_free

UPSTREAMS: tuple[str, ...] = ("notes", "weather")
_EXAMPLES = Path(__file__).parents[4] / "examples"
_STOP_SECONDS = 3.0


@dataclass
class Scene:
    """The stage of the demo.

    ``leaves`` are the serial numbers of the certificates at the beginning; ``trace_id`` is set on the way.
    """

    placement: Placement
    token: str
    rest: Rest
    otlp: OtlpReceiver
    background: BackgroundCalls
    leaves: dict[str, int] = field(default_factory=dict[str, int])
    trace_id: str = ""

    @property
    def state(self) -> State:
        return self.placement.state

    @property
    def url(self) -> str:
        return self.placement.url

    def serial(self, service: str) -> int:
        """The serial number of the certificate that a service has at this moment."""
        pem = (self.state.identity(service) / "cert.pem").read_bytes()
        return x509.load_pem_x509_certificate(pem).serial_number


@dataclass(frozen=True)
class ExampleServers:
    """The example servers, each at its port."""

    ports: dict[str, int]
    handles: list[Executed]

    async def listening(self) -> None:
        for port in self.ports.values():
            await wait_until_listening(port)


@asynccontextmanager
async def example_servers(state: State) -> AsyncGenerator[ExampleServers]:
    """The two servers of ``examples/``, which only a checkout has; stopped when the block ends."""
    if not _EXAMPLES.is_dir():
        raise StateUnusable(f"there are no example servers in {_EXAMPLES}: run the demo from a checkout")
    ports = dict(zip(UPSTREAMS, choose_free(len(UPSTREAMS)), strict=True))
    servers = ExampleServers(ports, [])
    try:
        for name, port in ports.items():
            command = (sys.executable, str(_EXAMPLES / f"{name}_server.py"), "--port", str(port))
            launch = Launch(name, dict(os.environ), state.log(name), command=command)
            servers.handles.append(await execute(launch))
        yield servers
    finally:
        for handle in servers.handles:
            await stop(handle, _STOP_SECONDS)
