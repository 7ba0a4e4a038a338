"""The traffic of sessions of the handshake era: their streams, what clients are asked, and what they cancel."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, TooManyRequests
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.gateway import AskStream, Cancel, ClientAnswer, Session
from interlock_common.messages.resources import UPSTREAM_SESSIONS
from interlock_common.messages.subjects import MCP_CANCEL, session_stream
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.caller import Caller
from interlock_gateway.changes.hub import Changes
from interlock_gateway.endpoints.requests import McpRequest
from interlock_gateway.jsonrpc import INVALID_REQUEST, Envelope, RpcError
from interlock_gateway.sessions.asking import ANSWER, Asking
from interlock_gateway.sessions.client import EventId, SessionReply
from interlock_gateway.sessions.edge_calls import EdgeCalls
from interlock_gateway.sessions.feed import GET, Feed
from interlock_gateway.sessions.following import STREAM, Following, OpenStreams
from interlock_gateway.sessions.journal import Journal
from interlock_gateway.sessions.pulse import Pulse
from interlock_gateway.sessions.registry import OpenSession, Sessions
from interlock_gateway.sessions.root_changes import ROOTS_CHANGED, RootChanges, Ways, keeps_own_sessions
from interlock_gateway.sessions.running import RunningRequests, Work
from interlock_gateway.sessions.streams import Attendance, Place, Streams
from interlock_gateway.upstreams.sessions import SHARED

_log = structlog.get_logger()
MAX_STREAMS = 100
_MAX_REASON = 256
_RESUMED = b"last-event-id"


class _Cancelled(msgspec.Struct, frozen=True, rename="camel"):
    request_id: int | str | float
    reason: str = ""


_cancelled = msgspec.json.Decoder(_Cancelled)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the traffic of sessions needs of its edge; ``revision`` is that of the catalog."""

    bus: Bus
    subscriptions: Subscriptions
    sessions: Sessions
    changes: Changes
    ways: Ways
    upstreams: Mapping[str, Upstream]
    revision: Callable[[], int]
    clock: Clock
    answer_timeout: float


class SessionTraffic:
    """What the endpoint hands over of a session's requests."""

    def __init__(self, around: Surroundings) -> None:
        bus, clock = around.bus, around.clock
        self.pulse = Pulse(clock)
        self._around = around
        self._sessions = around.sessions
        self._journal = Journal(bus, clock)
        self._feed = Feed(self._journal)
        self._asking = Asking(bus, patience=around.answer_timeout)
        self._open = OpenStreams(self._journal)
        self._running = RunningRequests(self._open.ended)
        self._following = Following(bus, self._journal)
        self._calls = EdgeCalls(bus, around.subscriptions)
        self._streams = Streams(self._journal, self._feed, around.changes, around.revision, self._sessions.touch)
        self._roots = RootChanges(bus, around.ways, around.upstreams)
        self._reading: Counter[str] = Counter()
        self._attending: set[Attendance] = set()
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Hear what other edges say; the connection is there."""
        self.pulse.start()
        self._feed.start()
        await self._calls.answer(ANSWER, ClientAnswer, self._asking.take)
        await self._calls.answer(STREAM, AskStream, self._open.state)
        await self._around.subscriptions.add(MCP_CANCEL, self._cancel)

    def close(self) -> None:
        """End every GET soon; their clients reconnect, to another edge."""
        for attendance in self._attending:
            attendance.close()

    async def stop(self, grace: float = 1.0) -> None:
        """Let what runs come to its end, and store what was said."""
        self.close()
        await self._running.stop(grace)
        await self._roots.stop()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._feed.stop()
        await self._calls.stop()
        await self._journal.stop()
        await self._sessions.stop()
        await self.pulse.stop()

    def reply(self, session: OpenSession, request: McpRequest) -> SessionReply:
        """The client of one request, in place of the plain reply."""
        return self.reply_of(SessionReply, session, request)

    def reply_of[R: SessionReply](self, kind: type[R], session: OpenSession, request: McpRequest) -> R:
        """The same, of a client that is told things in another way."""
        reply = kind(request.reply.channel, session, request.request_id, self._journal, self._asking, self._open.opened)
        request.reply = reply
        return reply

    async def run(self, reply: SessionReply, work: Work) -> None:
        """Do the work of one request; its client may leave, or cancel it."""
        with self.pulse.beating(reply):
            await self._running.run(reply, work)

    async def answered(self, session: OpenSession, envelope: Envelope) -> None:
        """Take a client's response to a request; raises RpcError where nothing was asked."""
        await self._asking.answered(session, envelope)

    async def notified(self, session: OpenSession, envelope: Envelope) -> None:
        """Take a client's notification: a cancellation, or that its roots changed; others are nobody's business."""
        if envelope.method == ROOTS_CHANGED:
            self._roots.tell(session)
            return
        if envelope.method != "notifications/cancelled":
            return
        try:
            cancelled = _cancelled.decode(envelope.params)
        except (msgspec.DecodeError, RecursionError):
            return  # a notification has no answer that could say so
        request_id = msgspec.Raw(msgspec.json.encode(cancelled.request_id))
        said = Cancel(session.key, request_id, cancelled.reason[:_MAX_REASON])
        try:
            async with self._around.bus.lease() as client:
                await client.publish(MCP_CANCEL, msgspec.json.encode(said))
        except NatsError as error:
            _log.warning("a cancellation did not reach the other edges", error=type(error).__name__)

    async def stream(self, session: OpenSession, request: McpRequest, caller: Caller) -> None:
        """Serve the GET stream, or resume the stream that ``Last-Event-ID`` names."""
        last = request.headers.get(_RESUMED, b"").decode("latin-1")
        place, event = Place.parse(last), EventId.parse(last)
        if last and place is None and event is None:
            raise RpcError(INVALID_REQUEST, "header Last-Event-ID names no event of ours", status=400)
        with self._taken(caller.principal), self.pulse.beating(request.reply):
            attendance = Attendance(request.receive, self._sessions.watch(session, caller.expires_at))
            self._attending.add(attendance)
            try:
                if event is not None:
                    await self._following.serve(session, event, request.reply, attendance)
                else:
                    await self._streams.serve(session, caller, request.reply, attendance, place)
            finally:
                self._attending.discard(attendance)
                attendance.stop()

    async def say(self, session: str, message: bytes, unique: str = "") -> None:
        """Say a message on the stream of a session, at whichever edge that is; once under a ``unique`` name."""
        await self._journal.keep(session_stream(session, GET), message, {}, unique)

    async def end(self, session: OpenSession) -> None:
        """End a session because its client says so."""
        await self._sessions.end(session)
        self.session_changed(session.key, None)
        self._later(self._end_at_upstreams(session.key))

    def session_changed(self, key: str, record: Session | None) -> None:
        """Take a change of the bucket: what ended anywhere, ends here too."""
        self._streams.session_changed(key, record)
        self._sessions.changed(key, record)
        if record is None:
            self._running.end_session(key)
            if streamed := [each for each in self._around.upstreams.values() if each.transport == "sse"]:
                self._later(self._end_at(key, streamed))

    def _later(self, ending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(ending, name="end of a session at upstreams")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _end_at_upstreams(self, key: str) -> None:
        try:
            upstreams = await kv.keys(self._around.bus, UPSTREAM_SESSIONS, f"{key}.*")
        except (InterlockError, NatsError) as error:
            _log.warning("a session was not ended at upstreams", error=type(error).__name__)
            return
        for found in upstreams:
            upstream = self._around.upstreams.get(found.partition(".")[2])
            await self._end_at(key, [upstream] if upstream is not None else [])
            try:
                await kv.delete(self._around.bus, UPSTREAM_SESSIONS, found)
            except (InterlockError, NatsError) as error:
                _log.warning("the end of a session at an upstream was not noted", error=type(error).__name__)
        known = tuple(self._around.upstreams.values())
        await self._end_at(key, [each for each in known if each.transport == "stdio" and keeps_own_sessions(each)])

    async def _end_at(self, key: str, upstreams: Iterable[Upstream]) -> None:
        for upstream in upstreams:
            try:
                await self._around.ways.transport(upstream).end_session(upstream, f"{SHARED}{key}")
            except (InterlockError, NatsError) as error:
                _log.warning("a session was not ended at an upstream", error=type(error).__name__)

    def _cancel(self, message: Msg) -> None:
        try:
            said = msgspec.json.decode(message.data, type=Cancel)
            request_id = msgspec.json.decode(said.request, type=int | str | float)
        except msgspec.DecodeError as error:
            _log.warning("a cancellation does not fit its contract", error=str(error))
            return
        self._running.cancel(said.session, request_id)

    @contextmanager
    def _taken(self, principal: str) -> Generator[None]:
        if self._reading[principal] >= MAX_STREAMS:
            raise TooManyRequests(f"a principal has at most {MAX_STREAMS} streams open at an edge", retry_after=5)
        self._reading[principal] += 1
        try:
            yield
        finally:
            self._reading[principal] -= 1
            if not self._reading[principal]:
                del self._reading[principal]
