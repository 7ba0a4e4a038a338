"""Singular queries of JSONPath (RFC 9535, section 2.3.5.1): names and indices, so at most one place in a document.

Written here and not taken from a library: the libraries decode the whole document and lose how its numbers were
written; this one walks over raw bytes, and what it selects stays as it was.
"""

import re

import msgspec

from interlock_common.errors import InvalidInput

MAX_LENGTH = 1024
MAX_INDEX = 2**53 - 1
"""RFC 9535, section 2.1: integers of a query are those of I-JSON."""

type Step = str | int
type Path = tuple[Step, ...]

_INDEX = r"0|-?[1-9][0-9]*"
_NAME = r"[A-Za-z_\u0080-\ud7ff\ue000-\U0010ffff][0-9A-Za-z_\u0080-\ud7ff\ue000-\U0010ffff]*"
_BLANK = r"[ \t\n\r]*"
_ESCAPED = r"\\(?:[bfnrt/\\]|u[0-9A-Fa-f]{4})"
_STEP = re.compile(
    rf"{_BLANK}(?:"
    rf"\.(?P<name>{_NAME})"
    rf"|\[{_BLANK}(?:(?P<index>{_INDEX})"
    rf"""|"(?P<double>(?:[^"\\\x00-\x1f]|{_ESCAPED}|\\")*)\""""
    rf"""|'(?P<single>(?:[^'\\\x00-\x1f]|{_ESCAPED}|\\')*)'"""
    rf"){_BLANK}\])"
)

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)


class PathInvalid(InvalidInput):
    """Not a singular JSONPath query."""

    code = "json_path_invalid"


def parse(path: str) -> Path:
    """The steps of a query such as ``$.items[0]['unit price']``; raises PathInvalid."""
    if len(path) > MAX_LENGTH:
        raise PathInvalid(f"a path is at most {MAX_LENGTH} characters")
    if not path.startswith("$"):
        raise PathInvalid("a path begins with $ (RFC 9535)")
    steps: list[Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise PathInvalid(f"from character {at + 1} on, {path!r} is no name and no index (RFC 9535, singular)")
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    if found["index"] is not None:
        if len(found["index"]) > len(str(MAX_INDEX)) + 1 or abs(int(found["index"])) > MAX_INDEX:
            raise PathInvalid(f"an index is at most {MAX_INDEX}")
        return int(found["index"])
    if found["name"] is not None:
        return found["name"]
    if found["double"] is not None:
        return _unescaped(found["double"])
    return _unescaped(found["single"].replace("\\'", "'").replace('"', '\\"'))


def _unescaped(text: str) -> str:
    try:
        return _string.decode(f'"{text}"')
    except (msgspec.DecodeError, UnicodeEncodeError):  # half of a surrogate pair
        raise PathInvalid("a name in a path has an escape that stands for no character") from None


def select(document: bytes, path: Path) -> bytes | None:
    """The value at ``path`` as it was written, None where there is none; ``document`` is JSON."""
    value = document
    for step in path:
        try:
            part = _object.decode(value)[step] if isinstance(step, str) else _array.decode(value)[step]
        except (msgspec.DecodeError, KeyError, IndexError):
            return None
        value = bytes(part)
    return value
