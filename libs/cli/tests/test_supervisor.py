import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from interlock_cli.errors import ProcessFailed
from interlock_cli.processes import Launch, execute
from interlock_cli.supervisor import Child, Phase
from interlock_common.testing.clock import ManualClock

FOREVER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"


class Story:
    """One child and what is told of it; time moves only when the test says so."""

    def __init__(self, folder: Path, program: str) -> None:
        self.log = folder / "child.log"
        self.clock = ManualClock()
        self.changed = asyncio.Event()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        launch = Launch("child", dict(os.environ), self.log, command=(sys.executable, "-c", program))
        self.child = Child(launch, execute, self._up, self._on_change, self.failed, self.clock)

    async def _up(self) -> None:
        """The child is ready when it has said so as often as it was started."""
        await self.until(lambda: self.log.exists() and self.log.read_text().count("up") > self.child.restarts)

    def _on_change(self) -> None:
        self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - files and processes have no event
                await asyncio.sleep(0.01)

    async def until_phase(self, phase: Phase) -> None:
        await self.until(lambda: self.child.phase is phase)


@asynccontextmanager
async def started(folder: Path, program: str) -> AsyncGenerator[Story]:
    story = Story(folder, program)
    await story.child.start()
    try:
        yield story
    finally:
        await story.child.stop(1)


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    async with started(tmp_path, FOREVER) as story:
        await story.child.ready()
        first = story.child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await story.clock.until_asleep()
        story.clock.advance(1)
        await story.until_phase(Phase.READY)
        assert story.child.pid != first
        await story.child.stop(5)
        assert story.child.phase is Phase.STOPPED


async def test_five_quick_deaths_are_enough(tmp_path: Path) -> None:
    async with started(tmp_path, "raise SystemExit('the disk is full')") as story:
        for _ in range(4):
            await story.clock.until_asleep()
            story.clock.advance(5)
        with pytest.raises(ProcessFailed, match=r"(?s)child does not stay up \(exit code 1\).*the disk is full"):
            await asyncio.wait_for(story.failed, 10)
        assert story.child.phase is Phase.FAILED
        assert story.child.pid is None


async def test_wrong_settings_are_not_tried_again(tmp_path: Path) -> None:
    async with started(tmp_path, "import sys; sys.stderr.write('error: PORT is no number'); sys.exit(2)") as story:
        with pytest.raises(ProcessFailed, match=r"(?s)exit code 2.*PORT is no number"):
            await asyncio.wait_for(story.failed, 10)
        assert story.child.restarts == 0


async def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    async with started(tmp_path, STUBBORN) as story:
        await story.child.ready()
        pid = story.child.pid
        assert pid is not None
        await story.child.stop(0.1)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_child_is_not_in_the_group_that_a_ctrl_c_reaches(tmp_path: Path) -> None:
    async with started(tmp_path, FOREVER) as story:
        await story.child.ready()
        pid = story.child.pid
        assert pid is not None
        assert os.getpgid(pid) == pid
