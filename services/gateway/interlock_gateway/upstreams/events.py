"""Server-sent events as they arrive (WHATWG HTML, section 9.2.6), without waiting for more than one event."""

from interlock_gateway.errors import UpstreamMisbehaved


class EventParser:
    """Feed it chunks, get the data of each event that is complete; an event has at most ``limit`` bytes.

    ``upstream`` is whom an error names.
    """

    def __init__(self, upstream: str, limit: int) -> None:
        self._upstream = upstream
        self._limit = limit
        self._partial = bytearray()
        self._after_cr = False
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        chunk = self._with_plain_line_ends(chunk)
        head, *rest = chunk.split(b"\n")
        self._partial += head
        if self._size + len(self._partial) > self._limit:
            raise UpstreamMisbehaved(f"an event of upstream {self._upstream} is over {self._limit} bytes")
        if not rest:
            return []
        lines = [bytes(self._partial), *rest[:-1]]
        self._partial = bytearray(rest[-1])
        return [data for line in lines if (data := self._take(line)) is not None]

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        """A line ends with LF, CR LF or CR, and CR LF may arrive in two chunks."""
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk

    def _take(self, line: bytes) -> bytes | None:
        """Take one line; answers the data of the event that an empty line completes."""
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
                if self._size > self._limit:
                    raise UpstreamMisbehaved(f"an event of upstream {self._upstream} is over {self._limit} bytes")
            return None
        data = b"\n".join(self._data)
        self._data, self._size = [], 0
        return data or None
