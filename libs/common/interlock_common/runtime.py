"""The life of a service process, the same for all: join, connect, serve, drain, end."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvloop

from interlock_common import telemetry
from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.enrolment import Renewer, enrol, is_left_behind
from interlock_common.errors import ConfigurationError
from interlock_common.health import Health
from interlock_common.identity import Identity
from interlock_common.settings import ServiceSettings
from interlock_common.trust import TrustFollower

_log = structlog.get_logger()
_ENROL_SECONDS = 120.0
_REJOIN_SECONDS = 10.0
CONFIGURATION_EXIT = 2

type Step = Callable[[], Awaitable[None]]


class Service:
    """What ``app.py`` of a service wires its parts to."""

    def __init__(
        self, name: str, settings: ServiceSettings, *, clock: Clock = SYSTEM_CLOCK, description: str = ""
    ) -> None:
        self.name = name
        self.clock = clock
        self.settings = settings
        self.identity = Identity(name, settings.trust_domain, settings.identity_dir, clock)
        self.bus = Bus(name, settings.bus_url, self.identity, description=description, clock=clock)
        self.health = Health(name, settings.health_host, settings.health_port)
        self.audit = AuditLog(self.bus)
        self.renewer = Renewer(
            self.identity, self.bus, clock, rejoin=self._rejoin, left_behind=lambda: self.is_left_behind
        )
        self.joins = True
        self.ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.health.ready_when("bus", self.bus.problem)

    def background(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` until the service ends; if it fails, the process ends, so that it is replaced."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._background_done)
        self._tasks.append(task)
        return task

    async def run(self, *, on_connected: Step | None = None, on_ready: Step | None = None) -> None:
        """Connect and serve until a signal ends the process.

        ``on_connected`` runs with the connection up (create what the service owns, fill its buckets);
        ``on_ready`` runs last, before the process waits.
        """
        if not await self._connects():
            return
        self.audit.start()
        self.background(self.renewer.run(), "certificate renewal")
        if self.joins:
            self.background(self.follow_trust(), "trust bundle")
        if on_connected is not None:
            await on_connected()
        if on_ready is not None:
            await on_ready()
        _log.info("serving", endpoints=len(self.bus.endpoints), health_port=self.health.port)
        await self.ending.wait()
        _log.info("ending")

    async def _connects(self) -> bool:
        """Wait for the bus, which may take for ever; False when the process is to end before."""
        connecting, ending = asyncio.ensure_future(self.bus.start()), asyncio.ensure_future(self.ending.wait())
        try:
            await asyncio.wait({connecting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                await connecting
            return connecting.done()
        finally:
            for task in (connecting, ending):
                task.cancel()
            await asyncio.gather(connecting, ending, return_exceptions=True)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.audit.stop()
        await self.bus.stop()
        await self.health.stop()
        telemetry.shutdown()

    @property
    def is_left_behind(self) -> bool:
        """Whether the CA was rotated while this service was away."""
        return is_left_behind(self.identity, self.settings.join_dir)

    async def follow_trust(self) -> None:
        """Use each trust bundle that certs publishes, for ever."""
        await TrustFollower(self.identity, self.bus, self.renewer, self.clock).run()

    async def _rejoin(self) -> None:
        settings = self.settings
        await enrol(self.identity, settings.enrolment_url, settings.join_dir, timeout=_REJOIN_SECONDS)

    def _background_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background work failed, the process ends", work=task.get_name(), exc_info=error)
            self.ending.set()


@asynccontextmanager
async def running(
    settings: ServiceSettings,
    name: str,
    *,
    description: str = "",
    clock: Clock = SYSTEM_CLOCK,
    join: bool = True,
) -> AsyncGenerator[Service]:
    """A service that has an identity, answers health checks and ends on SIGTERM or SIGINT.

    ``join`` False is for certs, which makes its own identity.
    """
    service = Service(name, settings, clock=clock, description=description)
    service.joins = join
    telemetry.configure(name, service.bus.instance)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.ending.set)
    await service.health.start()
    try:
        if join and (not service.identity.is_usable() or service.is_left_behind):
            await enrol(service.identity, settings.enrolment_url, settings.join_dir, timeout=_ENROL_SECONDS)
        yield service
    finally:
        await service.close()


def service_command[S: ServiceSettings](
    package: str, settings: type[S], serve: Callable[[S], Coroutine[Any, Any, None]], *, migrates: bool
) -> Callable[[list[str]], int]:
    """What ``python -m package`` does: serve, or with ``migrate`` bring the database up to date.

    Answers an exit code; a configuration error is one clear line on standard error and the code 2.
    """

    def main(arguments: list[str]) -> int:
        if arguments and not (migrates and arguments == ["migrate"]):
            sys.stderr.write(f"usage: python -m {package}{' [migrate]' if migrates else ''}\n")
            return CONFIGURATION_EXIT
        try:
            loaded = settings.load()
            telemetry.configure_logs(package.rpartition(".")[2].removeprefix("interlock_"), loaded.log_level)
            if arguments:
                _migrate(loaded, package)
            else:
                uvloop.run(serve(loaded))
        except ConfigurationError as error:
            sys.stderr.write(f"error: {error.detail}\n")
            return CONFIGURATION_EXIT
        return 0

    return main


def _migrate(settings: Any, package: str) -> None:
    from interlock_common.database import migrate  # noqa: PLC0415 - an edge imports no database library

    migrate(settings.database_url, package)
