"""The embedded stack: which processes there are, in which order they start and stop.

certs comes first (it makes the certificates), then the bus, then everyone else at once; they stop in reverse.
What need not wait does not: every service is imported and its database migrated while certs starts.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial

from interlock_cli import ports
from interlock_cli.bus_config import render_bus_config
from interlock_cli.environment import Placement, child_environment
from interlock_cli.errors import CommandError, StateUnusable
from interlock_cli.probing import wait_until_listening, wait_until_well
from interlock_cli.processes import Executed, Launch, execute, fork, warm_up
from interlock_cli.state import State
from interlock_cli.supervisor import Change, Child, Starter, Wait
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import ConfigurationError
from interlock_common.nats_server import nats_server_binary
from interlock_common.tls import write_atomically

_SERVICES = {
    "certs": "interlock_certs",
    "auth": "interlock_auth",
    "plugins": "interlock_plugins",
    "audit": "interlock_audit",
    "catalog": "interlock_gateway.catalog",
    "connector": "interlock_gateway.connector",
}
_MIGRATED = frozenset({"certs", "auth", "audit", "catalog"})
_EDGE = "interlock_gateway"
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Options:
    """What the caller may choose; ``extra`` is added to the environment of every process."""

    host: str = ports.HOST
    port: int = 4444
    gateways: int = 1
    tls: bool = False
    sans: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict[str, str])


class Stack:
    """The processes of one state folder; ``failure`` gets a ProcessFailed when one of them is beyond help."""

    def __init__(self, state: State, options: Options, on_change: Change, clock: Clock = SYSTEM_CLOCK) -> None:
        self._options = options
        self._on_change = on_change
        self._clock = clock
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        edges = ["gateway", *(f"gateway-{number}" for number in range(2, options.gateways + 1))]
        chosen = ports.reserve(state, ["bus", "enrolment", *_SERVICES, *edges])
        self.placement = Placement(state, chosen, options.host, options.port, options.tls, options.sans)
        self._bus = self._child(self._bus_launch(), execute, partial(wait_until_listening, chosen["bus"]))
        self._services = {name: self._child(self._service_launch(name), fork) for name in _SERVICES}
        self._edges = [self._child(self._edge_launch(name), _execute_waiting) for name in edges]

    @property
    def children(self) -> list[Child]:
        """Every process, in the order of starting."""
        certs, *others = self._services.values()
        return [certs, self._bus, *others, *self._edges]

    async def start(self) -> None:
        """Start everything and return when all of it is ready; raises CommandError when that takes too long."""
        write_atomically(self.placement.state.nats_config, render_bus_config(self.placement).encode(), private=True)
        warm_up()
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._start_in_order()
        except TimeoutError:
            late = [child for child in self.children if child.seconds is None]
            raise CommandError(
                f"not ready within {_START_SECONDS:g} s: {', '.join(child.name for child in late)}\n"
                + late[0].last_lines()
            ) from None

    async def stop(self) -> None:
        """Stop in the reverse order of starting: who calls before who answers, the bus last."""
        certs, *others = self._services.values()
        for group in (self._edges, others, [certs], [self._bus]):
            await asyncio.gather(*(child.stop(_STOP_SECONDS) for child in group))

    async def _start_in_order(self) -> None:
        certs, *others = self._services.values()
        await asyncio.gather(*(child.start() for child in self._edges))
        await certs.start()
        certs.release()
        waiting = asyncio.gather(*(child.start() for child in others))
        try:
            await wait_until_well(self.placement.ports["certs"], "/health")
            await self._bus.start()
            await self._bus.ready()
            await waiting
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        for child in (*others, *self._edges):
            child.release()
        await asyncio.gather(*(child.ready() for child in (certs, *others, *self._edges)))

    def _child(self, launch: Launch, begin: Starter, wait: Wait | None = None) -> Child:
        wait = wait or partial(wait_until_well, self.placement.ports[launch.name], "/ready")
        return Child(launch, begin, wait, self._on_change, self.failure, self._clock)

    def _bus_launch(self) -> Launch:
        state = self.placement.state
        try:
            command = (nats_server_binary(), "-c", str(state.nats_config))
        except ConfigurationError as error:
            raise StateUnusable(error.detail) from None
        return Launch("bus", {}, state.log("bus"), command=command)

    def _service_launch(self, name: str) -> Launch:
        environment = child_environment(self.placement, name, name) | self._options.extra
        log = self.placement.state.log(name)
        return Launch(name, environment, log, module=_SERVICES[name], migrate=name in _MIGRATED)

    def _edge_launch(self, instance: str) -> Launch:
        environment = child_environment(self.placement, "gateway", instance) | self._options.extra
        return Launch(instance, environment, self.placement.state.log(instance), module=_EDGE)


async def _execute_waiting(launch: Launch) -> Executed:
    return await execute(launch, waiting=True)
