"""The life of one child process: started, watched, started again when it dies, stopped.

A child that dies is replaced after a pause that grows; one that dies five times in a row soon after its start
is beyond help, and so is one that says its settings are wrong (exit code 2).
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from enum import StrEnum

from interlock_cli.errors import ProcessFailed
from interlock_cli.processes import Handle, Launch, execute, send, stop
from interlock_common.clock import Clock

_QUICK_SECONDS = 10.0
_MOST_QUICK_DEATHS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_CONFIGURATION_EXIT = 2  # interlock_common.runtime says so; importing that costs 0.7 s
_TAIL_LINES = 12
_TAIL_BYTES = 16 * 1024

type Starter = Callable[[Launch], Awaitable[Handle]]
type Wait = Callable[[], Awaitable[None]]
type Change = Callable[[], None]


class Phase(StrEnum):
    """What a process is doing, as people see it."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Child:
    """One process of the stack, through all its restarts.

    ``begin`` starts it the first time, ``wait_ready`` returns when it may take work, ``on_change`` hears of each
    new phase; ``failed`` is set, with a ProcessFailed, when it is given up.
    """

    def __init__(
        self,
        launch: Launch,
        begin: Starter,
        wait_ready: Wait,
        on_change: Change,
        failed: asyncio.Future[None],
        clock: Clock,
    ) -> None:
        self.launch = launch
        self.phase = Phase.WAITING
        self.restarts = 0
        self.seconds: float | None = None
        self._begin = begin
        self._wait_ready = wait_ready
        self._on_change = on_change
        self._failed = failed
        self._clock = clock
        self._handle: Handle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._began_at = 0.0

    @property
    def name(self) -> str:
        return self.launch.name

    @property
    def pid(self) -> int | None:
        return self._handle.pid if self._handle is not None else None

    async def start(self) -> None:
        """Start the process and watch it from now on."""
        self._began_at = self._clock.monotonic()
        self._enter(Phase.STARTING)
        self._handle = await self._begin(self.launch)
        self._watch = asyncio.create_task(self._keep_alive(), name=f"watch {self.name}")

    def release(self) -> None:
        """Let a process that waits begin its work."""
        if self._handle is not None:
            self._handle.release()

    async def ready(self) -> None:
        """Return when the process may take work."""
        await self._wait_ready()
        self.seconds = self._clock.monotonic() - self._began_at
        self._enter(Phase.READY)

    async def stop(self, deadline: float) -> None:
        """Ask the process to end, and after ``deadline`` seconds no longer ask."""
        for task in (self._watch, self._recovery):
            if task is not None:
                task.cancel()
        handle = self._handle
        if handle is None or self.phase is Phase.STOPPED:
            return
        self._enter(Phase.STOPPING)
        await stop(handle, deadline)
        self._enter(Phase.STOPPED)

    async def _keep_alive(self) -> None:
        quick_deaths = 0
        while self._handle is not None:
            code = await self._handle.wait()
            lived = self._clock.monotonic() - self._began_at
            send(self._handle, signal.SIGKILL)
            quick_deaths = quick_deaths + 1 if lived < _QUICK_SECONDS else 1
            if code == _CONFIGURATION_EXIT or quick_deaths >= _MOST_QUICK_DEATHS:
                self._give_up(code)
                return
            self._enter(Phase.RESTARTING)
            if self._recovery is not None:
                self._recovery.cancel()
            await self._clock.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (quick_deaths - 1)))
            self.restarts += 1
            self._began_at = self._clock.monotonic()
            self._handle = await execute(self.launch)
            self._recovery = asyncio.create_task(self.ready(), name=f"recovery of {self.name}")

    def _give_up(self, code: int) -> None:
        self._handle = None
        self._enter(Phase.FAILED)
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        if not self._failed.done():
            self._failed.set_exception(ProcessFailed(f"{self.name} does not stay up ({how})\n{self.last_lines()}"))

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._on_change()

    def last_lines(self) -> str:
        """The end of the log of the process, for an error message."""
        log = self.launch.log
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            return f"its log {log} cannot be read"
        return "\n".join([f"the end of {log}:", *(f"  {line}" for line in lines)])
