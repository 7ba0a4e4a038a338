"""Server-sent events as they arrive (WHATWG HTML, section 9.2.6), without waiting for more than one event."""

from interlock_gateway.errors import UpstreamMisbehaved


class EventParser:
    """Feed it chunks, get the data of each event that is complete; an event has at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        if len(self._buffer) > self._limit:
            raise UpstreamMisbehaved(f"an event is over {self._limit} bytes")
        return [data for line in lines if (data := self._take(line.removesuffix(b"\r"))) is not None]

    def _take(self, line: bytes) -> bytes | None:
        """Take one line; answers the data of the event that an empty line completes."""
        if line:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._size += len(line)
                if self._size > self._limit:
                    raise UpstreamMisbehaved(f"an event is over {self._limit} bytes")
            return None
        data = b"\n".join(self._data)
        self._data, self._size = [], 0
        return data or None
