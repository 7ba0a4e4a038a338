"""How a changed definition is graded: by what differs from the version that was accepted.

``form``         nothing but the way it is written, or what a server measures (size, last change)
``description``  texts for people and models only
``widened``      anything else: parameters, schemas, hints, URLs that were not there
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from interlock_common.messages.catalog import DefinitionKind

type Grade = Literal["form", "description", "widened"]
type _Json = Any

MAX_REASONS = 8
_MAX_REASON = 200
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,31}://[^\s\"'<>)\]}]+")
_TEXTS = frozenset({"description", "title"})
_MEASURED = frozenset({"size"})
_SCHEMA_TEXTS = frozenset({"description", "title", "$comment"})
_DATA = frozenset({"const", "default", "enum", "examples"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_SCHEMAS = frozenset({"inputSchema", "outputSchema"})


@dataclass(frozen=True)
class Graded:
    """``reasons`` say in words what differs, the gravest first; at most ``MAX_REASONS``."""

    grade: Grade
    reasons: tuple[str, ...] = ()


class _RepeatedMember(ValueError):
    """An object has a member twice: which of the two counts depends on who reads it."""


def grade(kind: DefinitionKind, accepted: bytes, current: bytes) -> Graded:
    """Grade ``current`` against ``accepted``, both one JSON object."""
    try:
        old, new = _decode(accepted), _decode(current)
    except (ValueError, RecursionError):  # also figures of more digits than are read
        return Graded("widened", ("it repeats a member or holds what cannot be compared",))
    reasons = [reason[:_MAX_REASON] for reason in _widenings(kind, old, new)]
    if reasons:
        return Graded("widened", tuple(reasons[:MAX_REASONS]))
    if _canonical(_without_measures(kind, old)) == _canonical(_without_measures(kind, new)):
        return Graded("form")
    changed = [f"the text of {name} changed" for name in _changed(old, new) if name not in _MEASURED]
    return Graded("description", tuple(reason[:_MAX_REASON] for reason in changed[:MAX_REASONS]))


def _decode(document: bytes) -> dict[str, _Json]:
    return cast("dict[str, _Json]", json.loads(document, object_pairs_hook=_members, parse_float=_exactly))


def _members(pairs: list[tuple[str, _Json]]) -> dict[str, _Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RepeatedMember
    return members


def _exactly(figure: str) -> dict[str, str]:
    return {"\0figure": figure}  # as it is written: two that round to the same number are two


def _canonical(value: _Json) -> str:
    return json.dumps(value, sort_keys=True)


def _changed(old: dict[str, _Json], new: dict[str, _Json]) -> list[str]:
    """The members that are not the same in both."""
    return [
        name
        for name in sorted(old.keys() | new.keys())
        if name not in old or name not in new or _canonical(old[name]) != _canonical(new[name])
    ]


def _widenings(kind: DefinitionKind, old: dict[str, _Json], new: dict[str, _Json]) -> Iterator[str]:
    bare_old, bare_new = _bare(kind, old), _bare(kind, new)
    for name in _changed(bare_old, bare_new):
        before, after = bare_old.get(name), bare_new.get(name)
        if name in _SCHEMAS and isinstance(before, dict) and isinstance(after, dict):
            yield from _schema_changes(name, cast("dict[str, _Json]", before), cast("dict[str, _Json]", after))
        elif name == "annotations":
            yield from _flipped(_object(before), _object(after))
        else:
            yield f"{name} {_change(name in bare_old, name in bare_new)}"
    known = set(_urls(old))
    for url in dict.fromkeys(_urls(new)):
        if url not in known:
            yield f"new URL {url}"


def _schema_changes(name: str, old: dict[str, _Json], new: dict[str, _Json]) -> Iterator[str]:
    told = False
    before, after = _object(old.get("properties")), _object(new.get("properties"))
    for parameter in _changed(before, after):
        told = True
        yield f"parameter {parameter} of {name} {_change(parameter in before, parameter in after)}"
    for member in _changed(old, new):
        if member != "properties" or not told:
            yield f"{member} of {name} {_change(member in old, member in new)}"


def _flipped(old: dict[str, _Json], new: dict[str, _Json]) -> Iterator[str]:
    for hint in _changed(old, new):
        yield f"{hint} went from {_shown(old, hint)} to {_shown(new, hint)}"


def _shown(hints: dict[str, _Json], name: str) -> str:
    return json.dumps(hints[name])[:40] if name in hints else "unset"


def _change(was: bool, now: bool) -> str:  # noqa: FBT001 - two states of one thing
    if was and now:
        return "changed"
    return "is new" if now else "is gone"


def _object(value: _Json) -> dict[str, _Json]:
    return cast("dict[str, _Json]", value) if isinstance(value, dict) else {}


def _urls(value: _Json) -> Iterator[str]:
    if isinstance(value, str):
        yield from _URL.findall(value)
    elif isinstance(value, dict):
        for name, member in cast("dict[str, _Json]", value).items():
            yield from _URL.findall(name)
            yield from _urls(member)
    elif isinstance(value, list):
        for member in cast("list[_Json]", value):
            yield from _urls(member)


# What is left of a definition without its texts


def _bare(kind: DefinitionKind, definition: dict[str, _Json]) -> dict[str, _Json]:
    """A definition without what may change and still be the same to whoever relies on it."""
    texts = _TEXTS | {"icons"}
    if kind in {"resource", "template"}:
        texts |= {"name"}
    bare = {name: value for name, value in _without_measures(kind, definition).items() if name not in texts}
    for name, strip in _STRIPPED.items():
        if name in bare:
            bare[name] = strip(bare[name])
    if not bare.get("annotations", True):
        del bare["annotations"]
    return bare


def _without_measures(kind: DefinitionKind, definition: dict[str, _Json]) -> dict[str, _Json]:
    if kind not in {"resource", "template"}:
        return definition
    measured = {name: value for name, value in definition.items() if name not in _MEASURED}
    if isinstance(measured.get("annotations"), dict):
        measured["annotations"] = {n: v for n, v in measured["annotations"].items() if n != "lastModified"}
    return measured


def _annotations(value: _Json) -> _Json:
    if not isinstance(value, dict):
        return value
    return {name: member for name, member in cast("dict[str, _Json]", value).items() if name != "title"}


def _arguments(value: _Json) -> _Json:
    """Arguments of a prompt without their texts."""
    if not isinstance(value, list):
        return value
    return [
        {name: member for name, member in cast("dict[str, _Json]", argument).items() if name not in _TEXTS}
        if isinstance(argument, dict)
        else argument
        for argument in cast("list[_Json]", value)
    ]


def _schema(value: _Json) -> _Json:
    """A JSON schema without its texts; data inside of it (defaults, constants) is left alone."""
    if isinstance(value, list):
        return [_schema(member) for member in cast("list[_Json]", value)]
    if not isinstance(value, dict):
        return value
    bare: dict[str, _Json] = {}
    for name, member in cast("dict[str, _Json]", value).items():
        if name in _SCHEMA_TEXTS and isinstance(member, str):
            continue
        if name in _DATA:
            bare[name] = member
        elif name in _NAMED and isinstance(member, dict):
            bare[name] = {key: _schema(part) for key, part in cast("dict[str, _Json]", member).items()}
        else:
            bare[name] = _schema(member)
    return bare


_STRIPPED: dict[str, Callable[[_Json], _Json]] = {
    "annotations": _annotations,
    "arguments": _arguments,
    "inputSchema": _schema,
    "outputSchema": _schema,
}
