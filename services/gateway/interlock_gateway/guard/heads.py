"""Bounds on what comes before a body: how large the head of a request is, how many fields it has, how slowly it comes.

uvicorn has none of these. What its parser keeps for itself, it keeps between two callbacks: a head, a trailer, the size
of a chunk. So that is what is counted: bytes since a head was complete or a piece of a body came out.
"""

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 100
HEAD_SECONDS = 10.0

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
"""RFC 6585, section 5; RFC 9110, section 15.5.9."""


class TooManyFields(httptools.HttpParserError):
    """The head of a request has too many fields, or too large ones."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with these bounds; ``check_slow`` is to be called now and then."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._waiting_since: float | None = None
        self._unparsed = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._waiting_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        self._unparsed += len(data)
        if self._waiting_since is None and self.cycle.response_complete:
            # An empty line begins no message, and what is left of a body whose request was answered is none either.
            self._waiting_since = self.loop.time()
        super().data_received(data)
        if self._unparsed > MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._waiting_since = self._waiting_since or self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._waiting_since = None
        unparsed, self._unparsed = self._unparsed, 0
        # A head that came in one piece is complete before what it came in is measured.
        if len(self.headers) > MAX_FIELDS or (unparsed > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES):
            self._refuse(_TOO_LARGE)
            raise TooManyFields
        super().on_headers_complete()
        parser: Any = self.parser
        if not parser.should_upgrade():
            self.headers = []  # a trailer says nothing that a head could have said

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def check_slow(self, now: float) -> None:
        """End the connection when the head of its request, the first one too, has taken too long."""
        if self._waiting_since is not None and now - self._waiting_since > HEAD_SECONDS:
            self._refuse(_TOO_SLOW)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self, answer: bytes) -> None:
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:  # nothing else is being said
            self.transport.write(answer)
        self.transport.close()
