"""Limits on real processes, at moments that a test chooses."""

import asyncio
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway.connector.warden import Usage, Warden, usage_by_session


@pytest.fixture
def sleeper() -> Generator[int]:
    """A session with a child of its own."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        yield process.pid
        for pid in usage_by_session().get(process.pid, Usage()).pids:
            subprocess.run(["kill", "-KILL", str(pid)], check=False)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_session_is_all_its_processes(sleeper: int) -> None:
    await until(lambda: len(usage_by_session()[sleeper].pids) == 2)
    usage = usage_by_session()[sleeper]
    assert usage.memory > 2 * 2**20
    assert usage.cpu >= 0


async def test_over_its_memory_all_of_a_session_is_killed_with_the_reason(sleeper: int) -> None:
    await until(lambda: len(usage_by_session()[sleeper].pids) == 2)
    pids, reasons = usage_by_session()[sleeper].pids, list[str]()
    warden = Warden(ManualClock())
    warden.watch(sleeper, memory=2**20, share=1.0, kill=reasons.append)
    warden.judge(usage_by_session())
    assert reasons[0].endswith("of 1 MiB allowed")
    await until(lambda: all(not Path(f"/proc/{pid}").exists() or state(pid) == "Z" for pid in pids))


async def test_over_its_share_a_session_stands_still_until_it_is_back_at_it(sleeper: int) -> None:
    clock = ManualClock()
    warden = Warden(clock)
    warden.watch(sleeper, memory=0, share=0.5, kill=pytest.fail)
    clock.advance(10)
    warden.judge({sleeper: Usage(cpu=19.0, pids=[sleeper])})  # 15 s ahead are granted, and 5 s it was due
    assert state(sleeper) != "T"
    clock.advance(1)
    warden.judge({sleeper: Usage(cpu=22.0, pids=[sleeper])})
    await until(lambda: state(sleeper) == "T")
    clock.advance(1)
    warden.judge({sleeper: Usage(cpu=22.0, pids=[sleeper])})
    assert state(sleeper) == "T"
    clock.advance(2)
    warden.judge({sleeper: Usage(cpu=22.0, pids=[sleeper])})
    await until(lambda: state(sleeper) != "T")


async def test_what_is_gone_is_passed_over() -> None:
    warden = Warden(ManualClock())
    warden.watch(1_000_000_000, memory=1, share=1.0, kill=pytest.fail)
    warden.judge({})
    warden.forget(1_000_000_000)
    warden.forget(1_000_000_000)
    running = asyncio.create_task(warden.run())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
