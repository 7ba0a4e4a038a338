"""Two ways to start a process, so that a stack is up in seconds: forked from a warm parent, or executed.

Importing what a service needs costs 1 to 2.5 s of CPU. The *fork server* imports what services share once; each
forked service starts from there. An edge may import no database library, so it is executed on its own, early.
Both wait, imported and ready to go, until ``release``. A child is the leader of its own session, so that a
Ctrl-C in the terminal reaches only the supervisor, and dies with its parent.
"""

import asyncio
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

from interlock_cli.errors import ProcessFailed
from interlock_common.lifeline import die_with_parent, show_name

PRELOADED = (
    "interlock_cli.nursery",
    "interlock_common.database",
    "interlock_common.runtime",
    "interlock_common.mirror",
    "interlock_common.kv",
    "alembic.command",
    "aiosqlite",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "uvicorn",
)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Launch:
    """What to start: a Python module, or a ``command``; with ``migrate`` its database is brought up to date first."""

    name: str
    environment: Mapping[str, str]
    log: Path
    module: str = ""
    command: Sequence[str] = ()
    migrate: bool = False


class Handle(Protocol):
    """A started process."""

    pid: int

    def release(self) -> None:
        """Let it begin its work; a process that was not started to wait begins by itself."""
        ...

    async def wait(self) -> int:
        """Its exit code, negative for a signal, once it has ended."""
        ...


def warm_up() -> None:
    """Start the fork server, which imports while the supervisor does something else."""
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    forkserver.ensure_running()


def send(handle: Handle, number: signal.Signals) -> None:
    """Signal the whole group of a process; one that has ended is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(handle.pid, number)


async def stop(handle: Handle, deadline: float) -> None:
    """Ask a process to end, and after ``deadline`` seconds no longer ask."""
    send(handle, signal.SIGTERM)
    try:
        async with asyncio.timeout(deadline):
            await handle.wait()
    except TimeoutError:
        send(handle, signal.SIGKILL)
        await handle.wait()
    send(handle, signal.SIGKILL)  # whatever it left behind in its group


class Forked:
    """A service forked from the fork server."""

    def __init__(self, process: ForkServerProcess, gate: Connection) -> None:
        self._process = process
        self._gate = gate
        self._ended: asyncio.Task[int] | None = None  # one watcher, however many wait
        self.pid = process.pid or 0

    def release(self) -> None:
        with suppress(OSError):  # it may have ended meanwhile, which wait() tells
            self._gate.send_bytes(b"go")
        self._gate.close()

    def give_up(self) -> None:
        """Let a process that was never released end by itself."""
        self._gate.close()

    async def wait(self) -> int:
        if self._ended is None:
            self._ended = asyncio.create_task(self._watch(), name=f"end of {self._process.name}")
        return await asyncio.shield(self._ended)

    async def _watch(self) -> int:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._gate.close()
        return self._process.exitcode or 0


class Executed:
    """A program of its own; one that waits for ``release`` reads a line from its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    def release(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(b"go\n")

    async def wait(self) -> int:
        return await self._process.wait()


async def fork(launch: Launch) -> Forked:
    """Fork ``launch.module``; it imports, migrates, and waits to be released. Raises ProcessFailed."""
    starting = asyncio.create_task(asyncio.to_thread(_fork, launch), name=f"fork {launch.name}")
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(ProcessFailed):
            (await starting).give_up()
        raise


def _fork(launch: Launch) -> Forked:
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(
        target=_forked, name=launch.name, daemon=False,
        args=(launch.name, launch.module, dict(launch.environment), str(launch.log), launch.migrate, receiver),
    )  # fmt: skip
    try:
        process.start()  # blocks until the fork server has imported everything
    except (EOFError, ConnectionError):
        sender.close()
        raise ProcessFailed(f"{launch.name} could not be started: the fork server ended, as it says above") from None
    finally:
        receiver.close()
    return Forked(process, sender)


async def execute(launch: Launch, *, waiting: bool = False) -> Executed:
    """Start ``launch`` as a program; with ``waiting`` a module imports everything and waits to be released."""
    command = list(launch.command)
    if not command:
        loader = ["-m", "interlock_cli.waiting", launch.module] if waiting else ["-m", launch.module]
        command = [sys.executable, *loader]
    log = os.open(launch.log, _APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(launch.environment),
            stdin=asyncio.subprocess.PIPE if waiting else asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,  # one system call through a function that is bound already
        )
    finally:
        os.close(log)
    return Executed(process)


def _forked(
    name: str,
    module: str,
    environment: dict[str, str],
    log: str,
    migrate: bool,  # noqa: FBT001 - what is pickled goes by position
    gate: Connection,
) -> None:
    """What a forked child does, as ``python -m module`` would."""
    os.setsid()
    die_with_parent()
    show_name(name)
    os.environ.clear()
    os.environ.update(environment)
    target = os.open(log, _APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    entry = importlib.import_module(f"{module}.__main__")
    if migrate and (code := entry.main(["migrate"])) != 0:
        sys.exit(code)
    try:
        gate.recv_bytes()
    except EOFError:
        return  # the supervisor gave up before anything was served
    sys.exit(entry.main([]))
