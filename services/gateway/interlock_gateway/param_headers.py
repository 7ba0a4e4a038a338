"""``Mcp-Param-*``: headers that repeat arguments of a tool, for whoever routes by them (MCP 2026-07-28, transports).

A tool's input schema marks a property with ``x-mcp-header``; only strings, integers and booleans that are reached
through ``properties`` alone can be marked, and each with a name of its own. A tool with any other mark is none that
a client may use. What a client sends is held against the body, and what goes upstream is made anew from the
arguments as they leave.
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
_MAX_SHOWN = 64
_MISSING = object()

# Where schemas are within a schema (JSON Schema 2020-12, section 10): not in data, such as defaults
_ONE = frozenset({
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_SEVERAL = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})

type _Path = tuple[str, ...]


class InvalidMark(Exception):
    """A schema has a mark that the protocol does not allow; the message says which, and why."""


class _Schema(msgspec.Struct, frozen=True, rename="camel"):
    input_schema: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ParamHeaders:
    """The marked properties of one tool: the path to each, by its header's name in lower case."""

    paths: Mapping[bytes, tuple[str, ...]]

    @classmethod
    def of(cls, definition: bytes) -> Self:
        """What is marked; nothing, where any of the marks is invalid."""
        try:
            return cls(_marks(definition))
        except InvalidMark:
            return cls({})

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


def invalid_mark(definition: bytes) -> str:
    """Why a tool may not be used for its marks; empty for one that may."""
    try:
        _marks(definition)
    except InvalidMark as error:
        return str(error)
    return ""


def _marks(definition: bytes) -> dict[bytes, _Path]:
    if MARK.encode() not in bytes(definition):
        return {}
    schema = msgspec.json.decode(definition, type=_Schema).input_schema
    paths: dict[bytes, _Path] = {}
    for path, marked in _marked(schema, ()):
        if not path:
            raise InvalidMark(f"{MARK} where no property is that can be told from the arguments alone")
        where = f"{MARK} of {'.'.join(path)[:_MAX_SHOWN]!r}"
        name = marked[MARK]
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidMark(f"{where} is no name of a header")
        if not isinstance(marked.get("type"), str) or marked["type"] not in _TYPES:
            raise InvalidMark(f"{where}, which is no string, integer or boolean")
        header = PARAM_HEADER_PREFIX + name.lower().encode()
        if header in paths:
            raise InvalidMark(f"{where} repeats that of {'.'.join(paths[header])[:_MAX_SHOWN]!r}")
        paths[header] = path
    return paths


def _marked(schema: object, path: _Path | None) -> Iterator[tuple[_Path, Mapping[str, Any]]]:
    """Every schema with a mark; its path is empty for what is not reached through ``properties`` alone."""
    if not isinstance(schema, dict):
        return
    members = cast("dict[str, Any]", schema)
    if MARK in members:
        yield path or (), members
    for keyword, value in members.items():
        if keyword in _NAMED and isinstance(value, dict):
            for name, inner in cast("dict[str, Any]", value).items():
                direct = (*path, name) if path is not None and keyword == "properties" else None
                yield from _marked(inner, direct)
        elif keyword in _SEVERAL and isinstance(value, list):
            for inner in cast("list[Any]", value):
                yield from _marked(inner, None)
        elif keyword in _ONE:
            yield from _marked(value, None)


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
