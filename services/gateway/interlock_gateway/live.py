"""What is running for whom: so that a revocation ends open streams and calls, at once."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

from interlock_gateway.caller import Caller


class Ended(Exception):
    """What was running has been ended by a revocation."""


class LiveWork:
    """The tasks that work on behalf of each token; ``counts`` says whether a caller still may."""

    def __init__(self, counts: Callable[[Caller], bool] = lambda _caller: True) -> None:
        self.counts = counts
        self._callers: dict[asyncio.Task[object], Caller] = {}
        self._tasks: defaultdict[str, set[asyncio.Task[object]]] = defaultdict(set)
        self._ended: set[asyncio.Task[object]] = set()

    @contextmanager
    def on_behalf_of(self, caller: Caller) -> Generator[None]:
        """Let a revocation of the caller's token end the block; it then raises Ended."""
        task = asyncio.current_task()
        if task is None:  # only a coroutine that runs in a task can be ended
            raise RuntimeError("work on behalf of a token must run in a task")
        if task in self._callers:  # a part of work that is watched already
            with self._ending(task):
                yield
            return
        self._callers[task] = caller
        for token_id in caller.revoked_with:
            self._tasks[token_id].add(task)
        try:
            with self._ending(task):
                yield
        finally:
            self._forget(task, caller)

    async def watched(self, caller: Caller, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` on behalf of the caller."""
        with self.on_behalf_of(caller):
            await work()

    def _forget(self, task: asyncio.Task[object], caller: Caller) -> None:
        self._ended.discard(task)
        del self._callers[task]
        for token_id in caller.revoked_with:
            tasks = self._tasks[token_id]
            tasks.discard(task)
            if not tasks:
                del self._tasks[token_id]

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
        """End everything that runs on behalf of the token, or of one exchanged from it; answers how much there was."""
        return self._end(self._tasks.get(token_id, set()).copy())

    def end_revoked(self) -> int:
        """End everything whose caller no longer counts, for whichever reason; answers how much there was."""
        counting: dict[int, bool] = {}
        ended: set[asyncio.Task[object]] = set()
        for task, caller in self._callers.items():
            if id(caller) not in counting:
                counting[id(caller)] = self.counts(caller)
            if not counting[id(caller)]:
                ended.add(task)
        return self._end(ended)

    def _end(self, tasks: set[asyncio.Task[object]]) -> int:
        for task in tasks:
            if task not in self._ended:
                self._ended.add(task)
                task.cancel("revoked")
        return len(tasks)
