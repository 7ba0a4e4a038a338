"""Server-sent events as they arrive (WHATWG HTML, section 9.2.6), without waiting for more than one event."""

from typing import NamedTuple

from interlock_gateway.errors import UpstreamMisbehaved

_ID_BYTES = 1024
_RETRY_DIGITS = 9


class Event(NamedTuple):
    """An event that is complete: its type (``message`` where it names none) and its data."""

    type: bytes
    data: bytes


class EventParser:
    """Feed it chunks, get the data of each event that is complete; an event has at most ``limit`` bytes.

    ``upstream`` is whom an error names. ``last_id`` is the id that a reader who lost the stream goes on after,
    ``retry`` how many seconds it is to wait first, None where the stream did not say.
    """

    def __init__(self, upstream: str, limit: int, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry: float | None = None
        self._upstream = upstream
        self._limit = limit
        self._partial = bytearray()
        self._after_cr = False
        self._data: list[bytes] = []
        self._size = 0
        self._type = b""
        self._id = last_id

    @property
    def held(self) -> int:
        """How many bytes of an event have come that is not complete."""
        return self._size + len(self._partial)

    @property
    def inside(self) -> bool:
        """Whether an event, or a line, has begun that is not complete."""
        return bool(self._partial or self._data)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that ``chunk`` completes; raises UpstreamMisbehaved for one over the limit."""
        return [event.data for event in self.events(chunk)]

    def events(self, chunk: bytes) -> list[Event]:
        """As ``feed``, with the types."""
        chunk = self._with_plain_line_ends(chunk)
        head, *rest = chunk.split(b"\n")
        self._partial += head
        if self._size + len(self._partial) > self._limit:
            raise UpstreamMisbehaved(f"an event of upstream {self._upstream} is over {self._limit} bytes")
        if not rest:
            return []
        lines = [bytes(self._partial), *rest[:-1]]
        self._partial = bytearray(rest[-1])
        return [event for line in lines if (event := self._take(line)) is not None]

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        """A line ends with LF, CR LF or CR, and CR LF may arrive in two chunks."""
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk

    def _take(self, line: bytes) -> Event | None:
        """Take one line; answers the event that an empty line completes."""
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
                if self._size > self._limit:
                    raise UpstreamMisbehaved(f"an event of upstream {self._upstream} is over {self._limit} bytes")
            elif not line.startswith(b":"):
                self._note(line)
            return None
        event = Event(self._type or b"message", b"\n".join(self._data))
        self._data, self._size, self._type = [], 0, b""
        self.last_id = self._id
        return event if event.data else None

    def _note(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"event":
                self._type = value[:_ID_BYTES]
            case b"id" if len(value) <= _ID_BYTES and value.isascii() and value.decode().isprintable():
                self._id = value.decode()  # what is not fit to be a header is no id
            case b"retry" if value.isdigit() and len(value) <= _RETRY_DIGITS:
                self.retry = int(value) / 1000
            case _:
                pass
