"""A JSON payload whose strings can be looked at and replaced while every other byte stays as it came.

Parsing into objects and back would change numbers, spacing, escapes and duplicate keys. So the strings are
found where they stand in the raw bytes (RFC 8259, section 7), and only a string that changes is written again.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

# No alternative of this expression can match where another does, so it needs no backtracking: linear.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SPACE = b" \t\r\n"


class JsonString(NamedTuple):
    """A string of the payload: its bytes from ``start`` to ``end``, quotes included, and its text in UTF-8.

    ``is_key`` marks the name of a member; ``member`` is that name where the string is a member's value.
    """

    start: int
    end: int
    text: bytes
    is_key: bool
    member: bytes


class Document:
    """One payload, as raw JSON that is known to be well-formed."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @cached_property
    def searchable(self) -> bytes:
        """The payload with its escapes undone, to rule a pattern out with one search; no longer JSON.

        What matches here need not be within one string, so a match must be confirmed on ``strings``.
        """
        if b"\\" not in self.raw:
            return self.raw
        return _STRING.sub(_unescaped, self.raw)

    def strings(self) -> Iterator[JsonString]:
        """Every string in order, the names of members included."""
        raw = self.raw
        key, value_at = b"", -1
        for match in _STRING.finditer(raw):
            start, end = match.span()
            text = _text(match[0])
            after = _skip_space(raw, end)
            is_key = raw[after : after + 1] == b":"
            yield JsonString(start, end, text, is_key, key if start == value_at else b"")
            key, value_at = (text, _skip_space(raw, after + 1)) if is_key else (b"", -1)

    def rewritten(self, change: Callable[[JsonString], bytes]) -> bytes:
        """The payload with each string's text replaced by what ``change`` answers; the same text keeps its bytes."""
        pieces: list[bytes] = []
        position = 0
        for string in self.strings():
            text = change(string)
            if text != string.text:
                pieces += (self.raw[position : string.start], _quoted(text))
                position = string.end
        return b"".join((*pieces, self.raw[position:])) if pieces else self.raw


def _skip_space(raw: bytes, position: int) -> int:
    while position < len(raw) and raw[position] in _SPACE:
        position += 1
    return position


def _unescaped(match: re.Match[bytes]) -> bytes:
    quoted = match[0]
    return b'"%b"' % _text(quoted) if b"\\" in quoted else quoted


def _text(quoted: bytes) -> bytes:
    if b"\\" not in quoted:
        return quoted[1:-1]
    # Lone surrogates are well-formed JSON; they must reach the plugins rather than stop them.
    return json.loads(quoted).encode("utf-8", "surrogatepass")


def _quoted(text: bytes) -> bytes:
    decoded = text.decode("utf-8", "surrogatepass")
    try:
        return json.dumps(decoded, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(decoded).encode()
