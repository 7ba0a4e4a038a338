"""An OpenAPI document as plain values: read from JSON or YAML within bounds, its references followed inside it only.

YAML is read by the core schema of YAML 1.2 (section 10.3), as OpenAPI asks for: ``no`` is a text, a date too. It is
built from the parser's events, so that depth, size and what aliases stand for are counted before anything is made.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

import msgspec
import yaml

from interlock_common.errors import InvalidInput
from interlock_gateway.nesting import deeper_than

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 400_000
"""Of YAML, with everything that an alias stands for counted again each time."""

_TOO_DEEP = f"the document is nested over {MAX_DEPTH} levels deep"
_MAX_LINKS = 32
_events: Callable[..., Any] = vars(yaml)["parse"]  # its stub leaves the events unknown
_PLAIN = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,2})?")

type Mapping = dict[str, Any]


class OpenApiInvalid(InvalidInput):
    """The document cannot be imported; the message says what is wrong with it."""

    code = "openapi_invalid"


class Unusable(Exception):
    """A part of the document that cannot be imported: it is left out, and noted; this never leaves the import."""


def mapping(value: Any) -> Mapping | None:
    """``value`` if it is an object."""
    return cast("Mapping", value) if isinstance(value, dict) else None


def text(value: Any) -> str:
    """``value`` if it is a text, else nothing."""
    return value if isinstance(value, str) else ""


class Document:
    """The values of a document, and what its references lead to."""

    def __init__(self, root: Mapping) -> None:
        self.root = root

    def at(self, reference: Any) -> Any:
        """What a reference into this document leads to (RFC 6901, section 6); raises Unusable."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise Unusable(f"it refers to {str(reference)[:100]!r}, which is not inside the document")
        value: Any = self.root
        for part in unquote(reference[2:]).split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                value = value[int(key) if isinstance(value, list) and key.isdecimal() else key]
            except (KeyError, IndexError, TypeError, ValueError):
                raise Unusable(f"it refers to {reference[:100]!r}, which does not exist") from None
        return value

    def resolved(self, value: Any) -> Mapping:
        """An object, or the one that its reference leads to; raises Unusable."""
        for _ in range(_MAX_LINKS):
            found = mapping(value)
            if found is None:
                raise Unusable("something in it is no object")
            if "$ref" not in found:
                return found
            value = self.at(found["$ref"])
        raise Unusable("its references lead in a circle")


def read(document: bytes) -> Mapping:
    """The values of a JSON or YAML document; raises OpenApiInvalid."""
    if len(document) > MAX_BYTES:
        raise OpenApiInvalid(f"the document is over {MAX_BYTES} bytes")
    try:
        content = document.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OpenApiInvalid("the document is not UTF-8") from None
    root = mapping(_from_json(content) if content.lstrip()[:1] in {"{", "["} else _from_yaml(content))
    if root is None:
        raise OpenApiInvalid("the document is no object")
    return root


def _from_json(content: str) -> Any:
    data = content.encode()
    try:
        found = msgspec.json.decode(data)
        too_deep = deeper_than(data, MAX_DEPTH)
    except RecursionError:
        found, too_deep = None, True
    except msgspec.DecodeError:
        return _from_yaml(content)  # flow mappings of YAML begin like JSON
    if too_deep:
        raise OpenApiInvalid(_TOO_DEEP)
    return found


@dataclass(slots=True)
class _Frame:
    """A mapping or sequence that is being read."""

    value: Mapping | list[Any]
    anchor: str | None
    first_node: int
    height: int = 1
    key: str | None = None


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    nodes: int
    height: int


@dataclass
class _Builder:
    """Makes values of the events of a YAML parser."""

    frames: list[_Frame] = field(default_factory=list[_Frame])
    anchors: dict[str, _Anchored] = field(default_factory=dict[str, _Anchored])
    nodes: int = 0
    root: Any = None

    def take(self, event: Any) -> None:
        match event:
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close()
            case yaml.AliasEvent():
                known = self.anchors.get(event.anchor)
                if known is None:
                    raise OpenApiInvalid("an alias stands for something that holds it, or for nothing")
                self._count(known.nodes, known.height)
                self._add(known.value, known.height)
            case yaml.ScalarEvent():
                self._count(1, 0)
                value = self._scalar(event)
                if event.anchor is not None:
                    self.anchors[event.anchor] = _Anchored(value, 1, 0)
                self._add(value, 0)
            case _:
                pass

    def _open(self, value: Mapping | list[Any], event: Any) -> None:
        if event.tag is not None and event.tag not in {"!", f"{_PLAIN}map", f"{_PLAIN}seq"}:
            raise OpenApiInvalid(f"the tag {event.tag[:64]!r} is not for documents like this")
        first = self.nodes
        self._count(1, 1)
        self.frames.append(_Frame(value, event.anchor, first))

    def _close(self) -> None:
        frame = self.frames.pop()
        if isinstance(frame.value, dict):
            _merge(frame.value)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = _Anchored(frame.value, self.nodes - frame.first_node, frame.height)
        self._add(frame.value, frame.height)

    def _add(self, value: Any, height: int) -> None:
        if not self.frames:
            self.root = value
            return
        frame = self.frames[-1]
        frame.height = max(frame.height, height + 1)
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is None:
            if not isinstance(value, str):
                raise OpenApiInvalid("a key of the document is no text")
            frame.key = value
        else:
            frame.value[frame.key] = value
            frame.key = None

    def _count(self, nodes: int, height: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise OpenApiInvalid(f"the document has over {MAX_NODES} values, with what its aliases stand for")
        if len(self.frames) + height > MAX_DEPTH:
            raise OpenApiInvalid(_TOO_DEEP)

    def _scalar(self, event: Any) -> Any:
        is_key = bool(self.frames) and isinstance(self.frames[-1].value, dict) and self.frames[-1].key is None
        if event.tag not in {None, "!", f"{_PLAIN}str"}:
            raise OpenApiInvalid(f"the tag {event.tag[:64]!r} is not for documents like this")
        if is_key or event.tag is not None or not event.implicit[0]:
            return event.value
        return _plain(event.value)


def _plain(value: str) -> Any:
    """A scalar without quotes, by the core schema; figures that JSON or 64 bits cannot carry stay texts."""
    if value in _NULLS:
        return None
    if value in _TRUTH:
        return _TRUTH[value]
    if _INTEGER.fullmatch(value):
        return int(value)
    return float(value) if _FLOAT.fullmatch(value) else value


def _merge(values: Mapping) -> None:
    """Take in what a merge key holds (``<<``, of YAML 1.1, which authors still use); own members win."""
    merged = values.get("<<")
    sources = cast("list[Any]", merged) if isinstance(merged, list) else [merged]
    found = [source for source in map(mapping, sources) if source is not None]
    if found and len(found) == len(sources):
        del values["<<"]
        for source in found:
            for key, value in source.items():
                values.setdefault(key, value)


def _from_yaml(content: str) -> Any:
    builder = _Builder()
    documents = 0
    try:
        for event in _events(content, Loader=yaml.CSafeLoader):
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise OpenApiInvalid("there are several documents in one")
            builder.take(event)
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        mark: Any = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise OpenApiInvalid(f"the document is neither JSON nor YAML{where}") from None
    return builder.root
