"""Waiting for a fact, with a deadline, where nothing announces it."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Return as soon as ``condition`` holds; raises TimeoutError when it does not within ``timeout`` seconds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is looked at belongs to other processes and threads
            await asyncio.sleep(0.01)
