"""Starting service processes quickly: forked from a parent that has imported what they share.

An edge is executed instead, since it may import no database library.
"""

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

from interlock_cli.processes import PRELOADED

_context = multiprocessing.get_context("forkserver")


class Process(Protocol):
    """A running process."""

    @property
    def pid(self) -> int: ...
    def exit_code(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self, seconds: float) -> bool:
        """Whether it has ended within ``seconds``."""
        ...


class Forked:
    def __init__(self, module: str, environment: Mapping[str, str], log: Path, *, migrate: bool) -> None:
        _context.set_forkserver_preload(list(PRELOADED))
        self._process: ForkServerProcess = _context.Process(
            target=_serve, args=(module, dict(environment), str(log), migrate)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def exit_code(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        self._process.join(seconds)
        ended = self._process.exitcode is not None
        if ended:
            self._process.close()
        return ended


class Executed:
    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def module(name: str, environment: Mapping[str, str], log: Path) -> Executed:
    """``python -m name`` as a program of its own."""
    return Executed([sys.executable, "-m", name], environment, log)


def _serve(module: str, environment: dict[str, str], log: str, migrate: bool) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    entry = importlib.import_module(f"{module}.__main__")
    if migrate and (code := entry.main(["migrate"])) != 0:
        sys.exit(code)
    sys.exit(entry.main([]))
