"""The streams that sessions of the handshake era hold open (GET): what is said unasked, from whichever edge.

A session has one such stream. Opening it is said on the bus too, so that everything said has a place before or behind
that: before, it is the older stream's, behind it the newer's, on whichever edges they are. The id of an event is
``get.<connection>/<place>.<revision of the catalog>.<number>``: all that comes behind the place is sent again to
whoever resumes, and that lists changed, unless the catalog is still the same.
"""

import asyncio
import re
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from nats.aio.msg import Msg

from interlock_common.errors import NotFound
from interlock_common.messages.gateway import Session
from interlock_common.messages.subjects import session_stream
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.changes.hub import LIST_CHANGES, UPDATED, Changes, Interest
from interlock_gateway.endpoints.reply import SEND_SECONDS, Reply
from interlock_gateway.sessions.client import PRIMED_SINCE, RETRY_MS
from interlock_gateway.sessions.feed import GET, Feed
from interlock_gateway.sessions.journal import Journal
from interlock_gateway.sessions.registry import OpenSession, SessionEnd
from interlock_gateway.upstreams.sessions import SHARED

_log = structlog.get_logger()
_CHECK_SECONDS = 1.0
_MAX_WAITING = 1000
_MAX_WAITING_BYTES = 16 * 1024 * 1024
_REPLAY_SECONDS = 10.0
_OPENED_HEADER = "Interlock-Opened"
_EVENT_ID = re.compile(r"get\.([0-9a-f]{8})/([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,18})")

type Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Place:
    """How far the reader of a stream has come."""

    place: int
    revision: int

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        match = _EVENT_ID.fullmatch(text)
        return cls(int(match[2]), int(match[3])) if match else None


class Attendance:
    """Whether there is still somebody to be told something, and something that may be told."""

    def __init__(self, receive: Receive, end: SessionEnd) -> None:
        self._end = end
        self._closing = False
        self._gone = asyncio.create_task(_disconnected(receive), name="client of a stream")

    def over(self) -> bool:
        return self._closing or self._gone.done() or self._end.reached()

    def close(self) -> None:
        self._closing = True

    def stop(self) -> None:
        self._gone.cancel()


@dataclass(eq=False)
class SessionStream:
    """One open stream; what waits to be sent is bounded, and a client too slow for it comes again."""

    key: str
    attendance: Attendance
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    place: int = 0
    revision: int = 0
    begun: bool = False
    waiting: int = 0
    said: deque[tuple[int, bytes]] = field(default_factory=deque[tuple[int, bytes]])
    changed: dict[tuple[str, bytes], None] = field(default_factory=dict[tuple[str, bytes], None])
    some: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, place: int, message: Msg) -> None:
        """As ``feed.Reader``: from the moment on at which this stream was opened, until another is."""
        opened = (message.headers or {}).get(_OPENED_HEADER)
        if opened is not None:
            if self.begun and opened != self.token:
                self.attendance.close()
            self.begun = self.begun or opened == self.token
        elif self.begun and not self.attendance.over():
            self.waiting += len(message.data)
            self.said.append((place, message.data))
            if len(self.said) > _MAX_WAITING or self.waiting > _MAX_WAITING_BYTES:
                _log.warning("stream dropped: its reader is too slow")
                self.attendance.close()
        self.some.set()

    def change(self, method: str, params: bytes) -> None:
        """Tell of a change; one that waits to be told is enough."""
        self.changed[method, params] = None
        self.some.set()

    async def next(self, timeout: float) -> bytes | None:
        """What is to be said next, None if nothing is within ``timeout`` seconds."""
        if not self.said and not self.changed:
            self.some.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self.some.wait()
            except TimeoutError:
                return None
        if self.said:
            self.place, message = self.said.popleft()
            self.waiting -= len(message)
            return message
        if not self.changed:
            return None
        method, params = next(iter(self.changed))
        del self.changed[method, params]
        return jsonrpc.notification(method, params)


class Streams:
    """The open streams of this edge; ``revision`` is that of the catalog, ``in_use`` is told of sessions that are."""

    def __init__(
        self, journal: Journal, feed: Feed, changes: Changes, revision: Callable[[], int], in_use: Callable[[str], None]
    ) -> None:
        self._journal = journal
        self._feed = feed
        self._changes = changes
        self._revision = revision
        self._in_use = in_use
        self._open: dict[SessionStream, Interest] = {}

    def session_changed(self, key: str, record: Session | None) -> None:
        """Take a change of a session: what it subscribes to, or that it ended."""
        for stream, interest in self._open.items():
            if stream.key != key:
                continue
            if record is None:
                stream.attendance.close()
            else:
                self._changes.want(interest, record.subscriptions)

    async def serve(
        self, session: OpenSession, caller: Caller, reply: Reply, attendance: Attendance, resumed: Place | None
    ) -> None:
        """Hold the stream open until the client leaves, opens another, or the session ends."""
        stream = SessionStream(session.key, attendance)
        methods = LIST_CHANGES | {UPDATED}
        record = session.record
        interest = Interest(caller, record.server_id, f"{SHARED}{session.key}", methods, stream.change)
        with self._feed.reading(session.key, stream), self._changes.interested(interest):
            self._changes.want(interest, record.subscriptions)
            subject = session_stream(session.key, GET)
            begun_at = await self._journal.keep_now(subject, b"", {_OPENED_HEADER: stream.token})
            if resumed is not None and resumed.place > begun_at:
                raise NotFound("no such event: the stream never came so far")
            self._open[stream] = interest
            try:
                await self._speak(session, _Writer(stream, reply, self._revision), resumed, begun_at)
            except TimeoutError:
                _log.warning("stream dropped: its reader takes nothing", seconds=SEND_SECONDS)
            finally:
                del self._open[stream]

    async def _speak(self, session: OpenSession, writer: "_Writer", resumed: Place | None, begun_at: int) -> None:
        stream = writer.stream
        stream.place = resumed.place if resumed else begun_at
        stream.revision = resumed.revision if resumed else self._revision()
        await writer.open(primed=session.record.protocol_version >= PRIMED_SINCE)
        if resumed is not None and await self._replay(writer, resumed):
            self._repeat_changes(stream, session.record, resumed)
        while not stream.attendance.over():
            self._in_use(stream.key)
            message = await stream.next(_CHECK_SECONDS)
            if message is not None:
                await writer.event(message)
        await writer.end()

    async def _replay(self, writer: "_Writer", resumed: Place) -> bool:
        """Say again what came until this stream was opened; answers whether it was all there."""
        stream = writer.stream
        async with self._journal.read(session_stream(stream.key, GET), resumed.place) as reading:
            while not stream.attendance.over():
                message = await reading.next(_REPLAY_SECONDS)
                if message is None:
                    stream.attendance.close()
                    return False
                opened = (message.headers or {}).get(_OPENED_HEADER)
                if opened == stream.token:
                    return True
                if opened is None:
                    stream.place = reading.place
                    await writer.event(message.data)
        return False

    def _repeat_changes(self, stream: SessionStream, record: Session, resumed: Place) -> None:
        """What may have changed while nobody read: better told twice than not at all."""
        if self._revision() != resumed.revision:
            for method in sorted(LIST_CHANGES):
                stream.change(method, b"{}")
        for uri in record.subscriptions:
            stream.change(UPDATED, msgspec.json.encode({"uri": uri}))


class _Writer:
    """Numbers the events of one connection; raises TimeoutError when its reader takes nothing for too long."""

    def __init__(self, stream: SessionStream, reply: Reply, revision: Callable[[], int]) -> None:
        self.stream = stream
        self._reply = reply
        self._revision = revision
        self._number = 0

    async def open(self, *, primed: bool) -> None:
        async with self._reply.sending, asyncio.timeout(SEND_SECONDS):
            await self._reply.open_stream()
            await self._reply.comment(b"open")
            if primed:
                await self._reply.prime(self._next_id(), RETRY_MS)

    async def event(self, message: bytes) -> None:
        async with self._reply.sending, asyncio.timeout(SEND_SECONDS):
            await self._reply.write_event(message, self._next_id())

    async def end(self) -> None:
        async with self._reply.sending, asyncio.timeout(SEND_SECONDS):
            await self._reply.end_stream()

    def _next_id(self) -> bytes:
        stream = self.stream
        self._number += 1
        if not stream.changed:  # otherwise what the catalog's revision brought has not all been told
            stream.revision = self._revision()
        return f"get.{stream.token}/{stream.place}.{stream.revision}.{self._number}".encode()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
