"""The running requests of sessions: their work is not their connection's, and goes on when that is gone."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Literal

import structlog

from interlock_common.errors import TooManyRequests
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import INTERNAL_ERROR, ErrorObject
from interlock_gateway.sessions.client import SessionReply

_log = structlog.get_logger()
MAX_PER_SESSION = 64
_ENDING_SECONDS = 5.0

type Reason = Literal["cancelled", "session ended", "edge ends"]
type Work = Callable[[], Awaitable[None]]


def call_lost(request_id: jsonrpc.Id) -> bytes:
    """The answer to a request whose edge is gone."""
    message = "the call was lost with the replica of the gateway that ran it, and may be asked again"
    return jsonrpc.failure(request_id, ErrorObject(INTERNAL_ERROR, message, {"code": "call_lost", "retryable": True}))


class Running:
    """One request under way; ``over`` when its connection is not needed any more."""

    def __init__(self, reply: SessionReply) -> None:
        self.reply = reply
        self.reason: Reason | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None] | None = None
        reply.on_cut_off(self.let_go)

    def begin(self, work: Work) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self._run(work), name="request of a session")
        self.task.add_done_callback(self._done)
        return self.task

    def let_go(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def cancel(self, reason: Reason) -> None:
        if self.task is not None and self.reason is None:
            self.reason = reason
            self.task.cancel(reason)

    async def wait(self) -> None:
        """Return when the work is done, or goes on without the connection."""
        try:
            await self.over
        except asyncio.CancelledError:
            if self.task is not None and self.task.cancelling():  # both were ended: the work says why
                await asyncio.wait({self.task}, timeout=_ENDING_SECONDS)
            raise

    async def _run(self, work: Work) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            if self.reason is None:
                raise
            if self.reason == "edge ends" and not self.reply.finished:
                await self.reply.answer(call_lost(self.reply.request_id))
        finally:
            if self.reason is not None:
                await self.reply.end()

    def _done(self, task: asyncio.Task[None]) -> None:
        self.let_go()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a request of a session failed unexpectedly", exc_info=error)


class RunningRequests:
    """What runs at this edge, by session; ``ended`` is told of each that ran."""

    def __init__(self, ended: Callable[[SessionReply], None]) -> None:
        self._ended = ended
        self._running: defaultdict[str, set[Running]] = defaultdict(set)

    async def run(self, reply: SessionReply, work: Work) -> None:
        """Do the work of one request; raises TooManyRequests where its session has enough of it."""
        session = reply.session.key
        if len(self._running.get(session, ())) >= MAX_PER_SESSION:
            raise TooManyRequests(f"a session has at most {MAX_PER_SESSION} requests running", retry_after=1)
        running = Running(reply)
        self._running[session].add(running)
        running.begin(work).add_done_callback(lambda _: self._forget(session, running))
        await running.wait()

    def cancel(self, session: str, request_id: jsonrpc.Id) -> None:
        """End a request because its client wants that."""
        for running in tuple(self._running.get(session, ())):
            if running.reply.request_id == request_id:
                running.cancel("cancelled")

    def end_session(self, session: str) -> None:
        for running in tuple(self._running.get(session, ())):
            running.cancel("session ended")

    async def stop(self, grace: float) -> None:
        """Let what runs come to its end; after ``grace`` seconds say that it was lost."""
        tasks = {each.task for all_of in self._running.values() for each in all_of if each.task is not None}
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=grace)
        for all_of in tuple(self._running.values()):
            for running in tuple(all_of):
                running.cancel("edge ends")
        await asyncio.wait(tasks, timeout=_ENDING_SECONDS)

    def _forget(self, session: str, running: Running) -> None:
        self._ended(running.reply)
        self._running[session].discard(running)
        if not self._running[session]:
            del self._running[session]
