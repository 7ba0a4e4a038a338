"""Going on with the stream of a request at any edge: what was said comes from the bus, what follows too."""

import asyncio
import secrets
from dataclasses import dataclass, field

import msgspec
import structlog
from nats.aio.msg import Msg

from interlock_common.bus import Bus
from interlock_common.errors import InterlockError, NotFound, Unavailable
from interlock_common.messages.gateway import AskStream, StreamState
from interlock_common.messages.subjects import edge, session_stream
from interlock_gateway.endpoints.reply import SEND_SECONDS, Reply
from interlock_gateway.sessions.client import (
    LAST_HEADER,
    MORE_HEADER,
    NUMBER_HEADER,
    REQUEST_HEADER,
    EventId,
    SessionReply,
)
from interlock_gateway.sessions.journal import Journal, Reading
from interlock_gateway.sessions.registry import OpenSession
from interlock_gateway.sessions.running import call_lost
from interlock_gateway.sessions.streams import Attendance

_log = structlog.get_logger()
STREAM = "stream"
_CHECK_SECONDS = 2.0
_SETTLE_SECONDS = 1.0
_ASK_SECONDS = 2.0
_MAX_UNANSWERED = 3
_GONE = StreamState(running=False)


class OpenStreams:
    """The streams of requests that run at this edge."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._replies: dict[str, SessionReply] = {}

    def opened(self, reply: SessionReply) -> None:
        self._replies[reply.stream] = reply

    def ended(self, reply: SessionReply) -> None:
        self._replies.pop(reply.stream, None)

    async def state(self, asked: AskStream) -> StreamState:
        """How a stream stands; it is nobody's business but its session's."""
        on_way = self._journal.on_way(session_stream(asked.session, asked.stream))
        reply = self._replies.get(asked.stream)
        if reply is None or reply.session.key != asked.session:
            return StreamState(running=on_way)
        if asked.take:
            reply.follower = asked.follower
            reply.cut_off()
        request = msgspec.Raw(msgspec.json.encode(reply.request_id))
        return StreamState(
            running=on_way or not reply.finished, taken=reply.follower != asked.follower, request=request
        )


@dataclass(eq=False)
class _Follower:
    """One client that goes on reading a stream."""

    session: OpenSession
    event: EventId
    reply: Reply
    expected: int
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    request: bytes = b"null"
    state: StreamState = _GONE
    unanswered: int = 0
    ahead: dict[int, Msg] = field(default_factory=dict[int, Msg])
    parts: list[bytes] = field(default_factory=list[bytes])

    async def take(self, message: Msg) -> bool:
        """Pass on what is next, in the order it was said; answers whether the stream is over."""
        headers = message.headers or {}
        number = int(headers[NUMBER_HEADER])
        self.request = headers[REQUEST_HEADER].encode()
        if number >= self.expected:
            self.ahead[number] = message
        return await self.pass_on()

    async def pass_on(self) -> bool:
        while (message := self.ahead.pop(self.expected, None)) is not None:
            headers = message.headers or {}
            self.parts.append(message.data)
            if MORE_HEADER not in headers:
                data = b"".join(self.parts)
                self.parts.clear()
                if data:
                    await self.send(data)
            if LAST_HEADER in headers:
                return True
            self.expected += 1
        return False

    async def send(self, data: bytes) -> None:
        """Raises TimeoutError when the reader takes nothing for too long."""
        async with self.reply.sending, asyncio.timeout(SEND_SECONDS):
            await self.reply.write_event(data, b"%s/%d" % (self.event.stream.encode(), self.expected))

    async def skip(self) -> bool:
        """Leave out what is not kept any more; what came later counts more."""
        _log.warning("a stream is resumed too late for all of it", stream=self.event.stream, missed=self.expected)
        self.expected = min(self.ahead)
        self.parts.clear()
        return await self.pass_on()


class Following:
    """Serves streams of requests that may run elsewhere, or have run."""

    def __init__(self, bus: Bus, journal: Journal) -> None:
        self._bus = bus
        self._journal = journal

    async def serve(self, session: OpenSession, event: EventId, reply: Reply, attendance: Attendance) -> None:
        """Send what came behind ``event``, up to the answer; raises NotFound for what this session has no stream of."""
        follower = _Follower(session, event, reply, event.number + 1)
        follower.state = await self._ask(follower, take=True) or _GONE
        async with self._journal.read(session_stream(session.key, event.stream)) as reading:
            first = None
            if not follower.state.running and (first := await reading.next(_SETTLE_SECONDS)) is None:
                raise NotFound("no such stream: it was never opened in this session, or is not kept any more")
            try:
                await reply.open_stream()
                if first is None or not await follower.take(first):
                    await self._follow(follower, reading, attendance)
                await reply.end_stream()
            except TimeoutError:
                _log.warning("stream dropped: its reader takes nothing", seconds=SEND_SECONDS)

    async def _follow(self, follower: _Follower, reading: Reading, attendance: Attendance) -> None:
        while not attendance.over():
            message = await reading.next(_CHECK_SECONDS if follower.state.running else _SETTLE_SECONDS)
            if message is not None:
                if await follower.take(message):
                    return
            elif await self._silent(follower):
                return

    async def _silent(self, follower: _Follower) -> bool:
        """Nothing comes: find out whether anything will; answers whether the stream is over."""
        if follower.ahead:
            return await follower.skip()
        if not follower.state.running:
            request_id = msgspec.json.decode(follower.request)
            if request_id is not None:
                await follower.send(call_lost(request_id))
            return True
        state = await self._ask(follower, take=False)
        if state is None:
            follower.unanswered += 1
            if follower.unanswered >= _MAX_UNANSWERED:
                follower.state = _GONE
            return False
        follower.unanswered = 0
        follower.state = state
        return state.taken and state.running

    async def _ask(self, follower: _Follower, *, take: bool) -> StreamState | None:
        """What the edge that runs the request says; None where it cannot be asked at the moment."""
        asked = AskStream(follower.session.key, follower.event.stream, follower.token, take)
        subject = edge(follower.event.instance, STREAM)
        try:
            state = await self._bus.request(subject, asked, StreamState, timeout=_ASK_SECONDS)
        except Unavailable:
            return _GONE if self._bus.connected else None
        except InterlockError:
            return None
        if bytes(state.request) != b"null":
            follower.request = bytes(state.request)
        return state
