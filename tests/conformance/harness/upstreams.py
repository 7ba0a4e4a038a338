"""The everything-servers of a run: one of each era, as processes of their own."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from everything.eras import Era
from harness.errors import Unusable
from interlock_common.lifeline import die_with_parent

_SERVER = Path(__file__).parents[1] / "everything_server.py"
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0


@asynccontextmanager
async def everything_server(era: Era, log: Path, *more: str) -> AsyncGenerator[str]:
    """The URL of a server that listens; it is stopped when the block ends. ``more`` are further arguments."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_SERVER), "--era", era, *more),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=die_with_parent,  # one system call through a function that is bound already
        )
        try:
            yield await _url(process, log)
        finally:
            await _stop(process)


async def _url(process: asyncio.subprocess.Process, log: Path) -> str:
    if process.stdout is None:
        raise Unusable("the everything-server has no standard output")
    try:
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line:
        said = await asyncio.to_thread(log.read_text, encoding="utf-8")
        raise Unusable(f"the everything-server did not start: {said[-600:]}")
    return line.decode().strip()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
