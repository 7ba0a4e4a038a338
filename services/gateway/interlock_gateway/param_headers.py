"""``Mcp-Param-*``: headers that repeat arguments of a tool, for whoever routes by them (MCP 2026-07-28, transports).

A tool's input schema marks a property with ``x-mcp-header``; only strings, integers and booleans that are reached
through ``properties`` alone can be marked. What a client sends is held against the body, and what goes upstream is
made anew from the arguments as they leave.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import msgspec

from interlock_gateway.jsonrpc import HEADER_MISMATCH, RpcError
from interlock_gateway.revisions import PARAM_HEADER_PREFIX, decode_header, encode_header

MARK = "x-mcp-header"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TYPES = frozenset({"string", "integer", "boolean"})
_MAX_DEPTH = 16
_MISSING = object()


class _Schema(msgspec.Struct, frozen=True, rename="camel"):
    input_schema: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ParamHeaders:
    """The marked properties of one tool: the path to each, by its header's name in lower case."""

    paths: Mapping[bytes, tuple[str, ...]]

    @classmethod
    def of(cls, definition: bytes) -> Self:
        if MARK.encode() not in bytes(definition):
            return cls({})
        schema = msgspec.json.decode(definition, type=_Schema).input_schema
        return cls({PARAM_HEADER_PREFIX + name.lower().encode(): path for path, name in _marked(schema, ())})

    def check(self, headers: Mapping[bytes, bytes], arguments: bytes) -> None:
        """Raise RpcError -32020 unless every marked argument is repeated by its header, and nothing else is."""
        if not self.paths:
            return
        values = _decoded(arguments)
        for header, path in self.paths.items():
            if not _same(headers.get(header), _at(values, path)):
                shown = header.decode().title()
                raise RpcError(HEADER_MISMATCH, f"header {shown} does not match the body", status=400)

    def build(self, arguments: bytes) -> tuple[tuple[str, str], ...]:
        """The headers for ``arguments``; a missing or null value has none."""
        if not self.paths:
            return ()
        values = _decoded(arguments)
        found = ((header, _text(_at(values, path))) for header, path in self.paths.items())
        return tuple((header.decode(), encode_header(text)) for header, text in found if text is not None)


def _marked(schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    properties = schema.get("properties")
    if not isinstance(properties, dict) or len(path) >= _MAX_DEPTH:
        return
    for name, property_schema in cast("dict[str, Any]", properties).items():
        if not isinstance(property_schema, dict):
            continue
        described = cast("dict[str, Any]", property_schema)
        header = described.get(MARK)
        if isinstance(header, str) and _TOKEN.fullmatch(header) and described.get("type") in _TYPES:
            yield (*path, name), header
        yield from _marked(described, (*path, name))


def _decoded(arguments: bytes) -> object:
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return None


def _at(value: object, path: tuple[str, ...]) -> object:
    for name in path:
        if not isinstance(value, dict):
            return _MISSING
        value = cast("dict[str, object]", value).get(name, _MISSING)
    return value


def _text(value: object) -> str | None:
    """A value as its header has it; None for what has none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _same(header: bytes | None, value: object) -> bool:
    """Whether a header says what the body says; integers are compared as numbers."""
    expected = _text(value)
    said = decode_header(header)
    if expected is None or said is None:
        return expected is None and header is None
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(said) == value
        except ValueError:
            return False
    return said == expected
