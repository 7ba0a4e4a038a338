"""The running servers: begun when somebody asks, one for each conversation, ended when idle or no longer wanted."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import InterlockError, Unavailable
from interlock_common.messages.catalog import Command, Upstream
from interlock_common.stdio import StdioProcess
from interlock_gateway.connector.commands import Commands
from interlock_gateway.connector.errors import KeepsEnding, TooManyProcesses
from interlock_gateway.connector.warden import Warden
from interlock_gateway.exchanges.server import Asked
from interlock_gateway.upstreams.pipes.conversation import Conversation

_log = structlog.get_logger()
_QUICK_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_LOOK_SECONDS = 1.0

type Key = tuple[str, ...]
type Unsolicited = Callable[[str, bytes], None]


@dataclass(eq=False)
class _Run:
    """One server process, or one that is being started."""

    key: Key
    upstream: Upstream
    command: Command
    began_at: float
    used_at: float
    starting: asyncio.Task[Conversation] | None = None
    conversation: Conversation | None = None
    users: int = 0
    retired: bool = False


@dataclass
class _Deaths:
    command: Command
    count: int = 0
    not_before: float = 0.0
    last: str = ""


@dataclass
class Bounds:
    """``count`` processes at most; times in seconds."""

    count: int
    probe: float
    start: float
    max_waiting: int = field(default=16 * 1024 * 1024)


class Processes:
    """All server processes of this connector."""

    def __init__(
        self, commands: Commands, warden: Warden, unsolicited: Unsolicited, bounds: Bounds, *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:  # fmt: skip
        self._commands = commands
        self._warden = warden
        self._unsolicited = unsolicited
        self._bounds = bounds
        self._clock = clock
        self._runs: dict[Key, _Run] = {}
        self._deaths: dict[str, _Deaths] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._runs)

    @asynccontextmanager
    async def use(self, upstream: Upstream, asked: Asked) -> AsyncGenerator[Conversation]:
        """The conversation for whoever asked, begun where there is none; it stays while the block runs."""
        run = self._run_for(upstream, asked)
        run.users += 1
        try:
            if run.starting is None:
                run.starting = asyncio.create_task(self._start(run, asked), name=f"start of {upstream.name}")
                run.starting.add_done_callback(_noted)
            yield await asyncio.shield(run.starting)
        finally:
            run.users -= 1
            run.used_at = self._clock.monotonic()

    def end_session(self, upstream: Upstream, session_key: str) -> None:
        """End what ran for one session only."""
        for run in list(self._runs.values()):
            if run.key[0] == upstream.id and len(run.key) > 2 and run.key[2] == session_key:  # noqa: PLR2004 - see key_of
                self._drop(run)

    async def notify(self, upstream: Upstream, asked: Asked, message: bytes) -> None:
        """Hand a notification of a client to what runs for its session only."""
        for run in list(self._runs.values()):
            if run.key[:3] == (upstream.id, asked.principal, asked.session_key) and run.conversation is not None:
                await run.conversation.pass_on(message)

    def drop(self, upstream_id: str, command: Command | None = None) -> None:
        """End what runs for an upstream, but for what runs ``command``; what is in use ends after that."""
        deaths = self._deaths.get(upstream_id)
        if deaths is not None and deaths.command != command:
            del self._deaths[upstream_id]
        for run in list(self._runs.values()):
            if run.key[0] == upstream_id and run.command != command:
                run.retired = True
                del self._runs[run.key]
                self._later(self._retire(run, at_once=command is None))

    async def run(self) -> None:
        """End what is idle, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            now = self._clock.monotonic()
            for run in list(self._runs.values()):
                if not run.users and now - run.used_at > run.command.idle_seconds:
                    _log.info("an idle server process ends", server=run.upstream.name)
                    self._drop(run)

    async def close(self) -> None:
        """End them all."""
        for run in list(self._runs.values()):
            self._drop(run)
        while self._ending:
            await asyncio.wait(self._ending)  # gather would not yield where all are done, and none could be discarded

    def _run_for(self, upstream: Upstream, asked: Asked) -> _Run:
        key, now = key_of(upstream, asked), self._clock.monotonic()
        if (run := self._runs.get(key)) is not None:
            return run
        deaths = self._deaths.get(upstream.id)
        if deaths is not None and now < deaths.not_before:
            wait = deaths.not_before - now
            raise KeepsEnding(f"{deaths.last}; {deaths.count} times in a row, the next try is in {wait:.1f} s")
        self._make_room()
        assert upstream.command is not None  # noqa: S101 - only such upstreams are led
        run = self._runs[key] = _Run(key, upstream, upstream.command, now, now)
        return run

    def _make_room(self) -> None:
        if len(self._runs) < self._bounds.count:
            return
        idle = [run for run in self._runs.values() if not run.users]
        if not idle:
            raise TooManyProcesses(f"{self._bounds.count} server processes run, and all are busy")
        self._drop(min(idle, key=lambda run: run.used_at))

    async def _start(self, run: _Run, asked: Asked) -> Conversation:
        upstream, command = run.upstream, run.command
        try:
            process = await StdioProcess.begin(self._commands.start_of(upstream))
        except InterlockError:
            self._forget(run)
            raise
        self._warden.watch(process.pid, memory=command.memory, share=command.cpu, kill=process.kill)
        conversation = Conversation(
            process, name=upstream.name, unsolicited=lambda message: self._unsolicited(upstream.id, message),
            capabilities=None if command.shared else asked.capabilities, max_waiting=self._bounds.max_waiting,
        )  # fmt: skip
        self._later(self._look_after(run, process, conversation))
        known = upstream.era == "legacy" and bool(upstream.protocol_version)
        try:
            await conversation.begin(
                known_legacy=known, probe_seconds=self._bounds.probe, start_seconds=self._bounds.start
            )
        except BaseException:
            conversation.give_up(Unavailable(f"the server process of {upstream.name} did not begin to talk"))
            raise
        run.conversation = conversation
        _log.info("a server process is ready", server=upstream.name, pid=process.pid)
        return conversation

    async def _look_after(self, run: _Run, process: StdioProcess, conversation: Conversation) -> None:
        """Wait for the end of a process, however it comes, and leave nothing of it."""
        await conversation.ended.wait()
        self._forget(run)
        self._warden.forget(process.pid)
        if not run.retired:
            _log.warning("a server process is gone", server=run.upstream.name, reason=conversation.reason.detail)
            self._died(run, conversation.reason)
        await conversation.close()

    def _died(self, run: _Run, reason: InterlockError) -> None:
        """Keep in mind how it ended: what ends again and again is tried again ever later."""
        now = self._clock.monotonic()
        deaths = self._deaths.setdefault(run.upstream.id, _Deaths(run.command))
        deaths.count = deaths.count + 1 if now - run.began_at < _QUICK_SECONDS else 1
        deaths.last = reason.detail
        if deaths.count > 1:
            deaths.not_before = now + min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(deaths.count - 2, 10))

    def _forget(self, run: _Run) -> None:
        if self._runs.get(run.key) is run:
            del self._runs[run.key]

    def _drop(self, run: _Run) -> None:
        run.retired = True
        self._forget(run)
        self._later(self._retire(run, at_once=True))

    async def _retire(self, run: _Run, *, at_once: bool) -> None:
        while run.users and not at_once:
            await self._clock.sleep(_LOOK_SECONDS)
        if run.starting is not None and not run.starting.done():
            run.starting.cancel()
        if run.conversation is not None:
            run.conversation.give_up(Unavailable(f"the server process of {run.upstream.name} was ended"))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _noted(task: asyncio.Task[Conversation]) -> None:
    """What went wrong has been told to whoever waited; it may be that nobody does any more."""
    if not task.cancelled():
        task.exception()


def key_of(upstream: Upstream, asked: Asked) -> Key:
    """Who shares a process: nobody's requests reach the server of another principal, unless it is shared by all.

    In the handshake era each session has a server of its own, which was told what its client can do.
    """
    if upstream.command is not None and upstream.command.shared:
        return (upstream.id,)
    if upstream.era == "modern" and upstream.protocol_version:
        return (upstream.id, asked.principal)
    return (upstream.id, asked.principal, asked.session_key, hashlib.sha256(asked.capabilities).hexdigest())
