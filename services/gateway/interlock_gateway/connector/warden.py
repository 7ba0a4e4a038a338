"""Holds processes to their memory and their share of the CPU, all processes of a session together (Linux, proc(5)).

Over its memory a session is killed. Over its share of the CPU it is stopped for as long as brings it back to it.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from interlock_common.clock import SYSTEM_CLOCK, Clock

_PROC = Path("/proc")
_HAS_PROC = _PROC.joinpath("self/stat").exists()
_LOOK_SECONDS = 1.0
_BURST_SECONDS = 15.0
"""CPU time that may be used ahead: servers start with everything they can get."""
_LONGEST_STOP = 5.0
_MIB = 2**20


@dataclass
class Usage:
    """What the processes of one session use at a moment: bytes, and seconds of CPU in all."""

    memory: int = 0
    cpu: float = 0.0
    pids: list[int] = field(default_factory=list[int])


@dataclass
class _Watched:
    memory: int
    share: float
    kill: Callable[[str], None]
    cpu: float = 0.0
    debt: float = -_BURST_SECONDS
    resume_at: float | None = None


class Warden:
    """Watches the sessions it was given, by the process id of their leader."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._watched: dict[int, _Watched] = {}
        self._looked_at = clock.monotonic()

    def watch(self, pid: int, *, memory: int, share: float, kill: Callable[[str], None]) -> None:
        """Hold the session of ``pid`` to ``memory`` bytes and ``share`` of a core; ``kill`` gets the reason."""
        self._watched[pid] = _Watched(memory, share, kill)

    def forget(self, pid: int) -> None:
        self._watched.pop(pid, None)

    async def run(self) -> None:
        """Look about every second until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            if self._watched and _HAS_PROC:
                self.judge(await asyncio.to_thread(usage_by_session))

    def judge(self, usage: dict[int, Usage]) -> None:
        """Kill, stop or continue each session by what it uses now."""
        now = self._clock.monotonic()
        elapsed, self._looked_at = now - self._looked_at, now
        for pid, watched in list(self._watched.items()):
            used = usage.get(pid)
            if used is None:
                continue
            if watched.memory and used.memory > watched.memory:
                watched.kill(f"used {used.memory // _MIB} MiB of memory, of {watched.memory // _MIB} MiB allowed")
                _signal(used.pids, signal.SIGKILL)
            else:
                self._hold_back(watched, used, elapsed, now)

    def _hold_back(self, watched: _Watched, used: Usage, elapsed: float, now: float) -> None:
        watched.debt += max(0.0, used.cpu - watched.cpu) - watched.share * elapsed
        watched.debt = max(watched.debt, -_BURST_SECONDS)
        watched.cpu = used.cpu
        if watched.resume_at is not None and now >= watched.resume_at:
            watched.resume_at = None
            _signal(used.pids, signal.SIGCONT)
        if watched.share > 0 and watched.debt > 0 and watched.resume_at is None:
            watched.resume_at = now + min(_LONGEST_STOP, watched.debt / watched.share)
            _signal(used.pids, signal.SIGSTOP)


def usage_by_session() -> dict[int, Usage]:
    """What every session on this machine uses, by the process id of its leader."""
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    found: dict[int, Usage] = {}
    for pid, fields in _stats():
        usage = found.setdefault(int(fields[3]), Usage())
        usage.cpu += (int(fields[11]) + int(fields[12])) / tick
        usage.memory += int(fields[21]) * page
        usage.pids.append(pid)
    return found


def _stats() -> Iterator[tuple[int, list[bytes]]]:
    """The fields of /proc/<pid>/stat from the third on: state, parent, group, session and so on."""
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            with suppress(OSError):
                content = (_PROC / entry.name / "stat").read_bytes()
                yield int(entry.name), content[content.rindex(b")") + 1 :].split()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
