"""The client of one request in the handshake era: what it is told is kept where its answer becomes a stream.

A stream is named ``<instance of the edge that runs the request>-<random>``, its events ``<stream>/<number>``.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from interlock_common.messages.access import MAX_PAYLOAD
from interlock_common.messages.subjects import session_stream
from interlock_gateway import jsonrpc
from interlock_gateway.endpoints.reply import HeaderPairs, Reply, Send
from interlock_gateway.sessions.asking import Asking
from interlock_gateway.sessions.journal import Journal
from interlock_gateway.sessions.registry import OpenSession

NUMBER_HEADER = "Interlock-Number"
"""Numbers the messages of a stream from 0; the first only says that the stream began."""
REQUEST_HEADER = "Interlock-Request"
"""The id of the request that the stream answers, as JSON."""
MORE_HEADER = "Interlock-More"
"""The event goes on in the next message."""
LAST_HEADER = "Interlock-Last"
"""Nothing comes behind this."""

RETRY_MS = 1000
PRIMED_SINCE = "2025-11-25"
"""Clients of earlier revisions take an event without data for a broken message."""
_PART = MAX_PAYLOAD // 4
_EVENT_ID = re.compile(r"(([0-9a-f]{8})-[0-9a-f]{32})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class EventId:
    """The id of an event on the stream of a request."""

    stream: str
    instance: str
    number: int

    @classmethod
    def parse(cls, text: str) -> "EventId | None":
        match = _EVENT_ID.fullmatch(text)
        return cls(match[1], match[2], int(match[3])) if match else None


class SessionReply(Reply):
    """A JSON body while that is enough; from the first event on a stream that any edge can resume.

    ``opened`` is called when a stream begins. ``follower`` is who took the stream over.
    """

    __slots__ = ("_asking", "_cut_off", "_journal", "_number", "_opened", "cut", "follower", "request_id", "session",
                 "stream", "subject")  # fmt: skip

    def __init__(
        self, send: Send, session: OpenSession, request_id: jsonrpc.Id, journal: Journal, asking: Asking,
        opened: Callable[["SessionReply"], None],
    ) -> None:  # fmt: skip
        super().__init__(send)
        self.session = session
        self.request_id = request_id
        self.stream = ""
        self.subject = ""
        self.cut = False
        self.follower = ""
        self._journal = journal
        self._asking = asking
        self._opened = opened
        self._number = 0
        self._cut_off: Callable[[], None] | None = None

    def on_cut_off(self, listener: Callable[[], None]) -> None:
        self._cut_off = listener

    def cut_off(self) -> None:
        """Send nothing more over this connection; what is said from now on is kept for whoever resumes."""
        if not self.cut:
            self.cut = True
            if self._cut_off is not None:
                self._cut_off()

    async def open_stream(self, headers: HeaderPairs = ()) -> None:
        self.stream = f"{self._asking.instance}-{secrets.token_hex(16)}"
        self.subject = session_stream(self.session.key, self.stream)
        self._opened(self)
        await self._keep(b"")
        await super().open_stream(headers)
        if self.session.record.protocol_version >= PRIMED_SINCE:
            await self.prime(self._event_id(), RETRY_MS)

    async def write_event(self, data: bytes, event_id: bytes = b"") -> None:
        await self._keep_event(data)
        await super().write_event(data, event_id or self._event_id())

    async def ask(self, method: str, params: bytes) -> bytes:
        return await self._asking.ask(self.session, self, method, params)

    async def answer(self, message: bytes, *, status: int = 200, headers: HeaderPairs = ()) -> None:
        async with self.sending:
            if self.streaming:
                await self._keep_event(message, {LAST_HEADER: "1"})
                await super().write_event(message, self._event_id())
                await self.end_stream()
            else:
                await self.json(message, status=status, headers=headers)

    async def end(self) -> None:
        """End without an answer: nobody wants one any more."""
        async with self.sending:
            if self.finished:
                return
            if self.streaming:
                await self._keep(b"", {LAST_HEADER: "1"})
                await self.end_stream()
            else:
                await self.json(b"", status=202)

    def _event_id(self) -> bytes:
        return b"%s/%d" % (self.stream.encode(), self._number - 1)

    async def _keep_event(self, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        while len(data) > _PART:
            await self._keep(data[:_PART], {MORE_HEADER: "1"})
            data = data[_PART:]
        await self._keep(data, headers)

    async def _keep(self, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        known = {NUMBER_HEADER: str(self._number), REQUEST_HEADER: msgspec.json.encode(self.request_id).decode()}
        unique = f"{self.stream}/{self._number}"
        self._number += 1
        await self._journal.keep(self.subject, data, known | dict(headers or {}), unique)

    async def _start(self, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        if not self.cut:
            await super()._start(status, headers)

    async def _body(self, body: bytes, *, more: bool) -> None:
        if not self.cut:
            await super()._body(body, more=more)

    def _give_up(self) -> None:
        self.cut_off()  # a reader that takes nothing can come back
