"""What is running for whom: so that a revocation ends open streams and calls, at once."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager


class Ended(Exception):
    """What was running has been ended by a revocation."""


class LiveWork:
    """The tasks that work on behalf of each token."""

    def __init__(self) -> None:
        self._tasks: defaultdict[str, set[asyncio.Task[object]]] = defaultdict(set)
        self._ended: set[asyncio.Task[object]] = set()

    @contextmanager
    def on_behalf_of(self, token_id: str) -> Generator[None]:
        """Let a revocation of the token end the block; it then raises Ended."""
        task = asyncio.current_task()
        if task is None:  # only a coroutine that runs in a task can be ended
            raise RuntimeError("work on behalf of a token must run in a task")
        tasks = self._tasks[token_id]
        if task in tasks:  # a part of work that is watched already
            with self._ending(task):
                yield
            return
        tasks.add(task)
        try:
            with self._ending(task):
                yield
        finally:
            self._ended.discard(task)
            tasks.discard(task)
            if not tasks:
                self._tasks.pop(token_id, None)

    async def watched(self, token_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` on behalf of the token."""
        with self.on_behalf_of(token_id):
            await work()

    @contextmanager
    def _ending(self, task: asyncio.Task[object]) -> Generator[None]:
        """Tell a cancellation of ours from anybody else's, who must get theirs even when both come at once."""
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            self._ended.discard(task)
            if task.uncancel():
                raise
            raise Ended from None

    def end(self, token_id: str) -> int:
        """End everything that runs on behalf of the token; answers how much there was."""
        tasks = self._tasks.get(token_id, set()).copy()
        for task in tasks:
            if task not in self._ended:
                self._ended.add(task)
                task.cancel("revoked")
        return len(tasks)
