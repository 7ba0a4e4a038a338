"""Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12 that stands alone.

References are replaced by what they lead to. Where that has no end (a schema that holds itself) or grows too large,
they stay references, to ``$defs``.
"""

import re
from dataclasses import dataclass, field
from typing import Any, cast

from interlock_gateway.upstreams.rest.openapi_document import Document, Mapping, OpenApiInvalid, Unusable, mapping

MAX_INLINE_NODES = 500
"""Schemas of one tool with every reference replaced: beyond, references stay."""
MAX_NODES = 3_000
"""Schemas of one tool."""
MAX_WORK = 300_000
"""Schemas of one import, tried or taken."""

_INLINE_DEPTH = 20
_ONE = frozenset({
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties", "contentSchema", "additionalItems",
})  # fmt: skip
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
_DROPPED = frozenset({"xml", "externalDocs", "discriminator", "example", "$schema", "nullable", "$comment"})
_ANNOTATIONS = frozenset({"title", "description", "default", "deprecated", "examples", "readOnly", "writeOnly"})
_OWN_SCOPE = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"})
_NOT_NAME = re.compile(r"[^A-Za-z0-9_.-]+")

type Schema = Mapping | bool


class TooMuch(Exception):
    """The schemas of a tool grow too large; this never leaves the import."""


@dataclass
class Work:
    """How many schemas an import has handled."""

    done: int = 0

    def step(self) -> None:
        self.done += 1
        if self.done > MAX_WORK:
            raise OpenApiInvalid("the document's schemas are too large together: choose operations with include")


@dataclass
class SchemaWriter:
    """Writes the schemas of one tool; with ``sending`` those of what is sent, else of what is answered."""

    document: Document
    work: Work
    inline: bool
    sending: bool
    keeps_siblings: bool
    """From 3.1 on, what stands beside ``$ref`` counts."""
    _within: list[str] = field(default_factory=list[str])
    _names: dict[str, str] = field(default_factory=dict[str, str])
    _nodes: int = 0

    def schema(self, node: Any, depth: int = 0) -> Schema:
        """``node`` as JSON Schema; raises Unusable, TooMuch and OpenApiInvalid."""
        self._step()
        if isinstance(node, bool):
            return node
        found = mapping(node)
        if found is None:
            raise Unusable("a schema in it is no object")
        if "$ref" in found:
            return self._reference(found, depth)
        if not _OWN_SCOPE.isdisjoint(found):
            raise Unusable("a schema in it sets its own base for references")
        written: Mapping = {}
        for key, value in found.items():
            if key not in _DROPPED and not key.startswith("x-"):
                written[key] = self._member(key, value, depth + 1)
        self._leave_out_one_way(found, written)
        return _modernized(found, written)

    def whole(self, node: Any) -> Schema:
        """``node`` as ``schema`` writes it, but never as a mere reference."""
        found = mapping(node)
        if found is None or found.keys() != {"$ref"}:
            return self.schema(node)
        self._within.append(found["$ref"])
        written = self.schema(self.document.resolved(found))
        self._within.pop()
        return written

    def definitions(self) -> Mapping:
        """The ``$defs`` that the schemas written so far refer to."""
        written: Mapping = {}
        while len(written) < len(self._names):
            for reference, name in list(self._names.items()):
                if name not in written:
                    self._within = [reference]
                    written[name] = self.schema(self.document.at(reference))
                    if written[name] == {"$ref": f"#/$defs/{name}"}:
                        raise Unusable("a schema in it is nothing but itself")
        self._within = []
        return written

    def _step(self) -> None:
        self.work.step()
        self._nodes += 1
        if self._nodes > (MAX_INLINE_NODES if self.inline else MAX_NODES):
            raise TooMuch

    def _member(self, key: str, value: Any, depth: int) -> Any:
        if key in _ONE:
            return self.schema(value, depth)
        if key in _LISTS:
            if not isinstance(value, list):
                raise Unusable(f"{key} in a schema of it is no list")
            return [self.schema(item, depth) for item in cast("list[Any]", value)]
        if key in _NAMED:
            found = mapping(value)
            if found is None:
                raise Unusable(f"{key} in a schema of it is no object")
            return {name: self.schema(item, depth) for name, item in found.items()}
        return value

    def _reference(self, node: Mapping, depth: int) -> Schema:
        reference = node["$ref"]
        target = self.document.at(reference)
        if self.inline and depth < _INLINE_DEPTH and reference not in self._within and reference not in self._names:
            self._within.append(reference)
            written = self.schema(target, depth + 1)
            self._within.pop()
        else:
            written = {"$ref": f"#/$defs/{self._name(reference)}"}
        beside = {key: value for key, value in node.items() if key != "$ref"}
        if not self.keeps_siblings:
            beside = {key: value for key, value in beside.items() if key in {"description", "nullable"}}
        nullable = beside.pop("nullable", False) is True
        if not beside and not nullable:
            return written
        return _together(written, self.schema(beside, depth + 1), nullable=nullable)

    def _name(self, reference: str) -> str:
        known = self._names.get(reference)
        if known is not None:
            return known
        plain = _NOT_NAME.sub("_", reference.rpartition("/")[2])[:64] or "schema"
        name, number = plain, 1
        taken = set(self._names.values())
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        self._names[reference] = name
        return name

    def _leave_out_one_way(self, node: Mapping, written: Mapping) -> None:
        """Leave out properties that only the other side writes, also where they are required."""
        properties = mapping(node.get("properties"))
        if not properties:
            return
        mark = "readOnly" if self.sending else "writeOnly"
        gone = {name for name, value in properties.items() if self._says(value, mark)}
        for name in gone:
            del written["properties"][name]
        required: Any = written.get("required")
        if gone and isinstance(required, list):
            left = [name for name in cast("list[Any]", required) if name not in gone]
            if left:
                written["required"] = left
            else:
                del written["required"]

    def _says(self, value: Any, mark: str) -> bool:
        found = mapping(value)
        if found is None:
            return False
        return found.get(mark) is True or ("$ref" in found and self.document.resolved(found).get(mark) is True)


def _together(target: Schema, own: Schema, *, nullable: bool) -> Schema:
    """What a reference leads to, and what stands beside it."""
    if not isinstance(target, dict) or not isinstance(own, dict):
        return {"allOf": [target, own]}
    if nullable:
        described = {key: value for key, value in own.items() if key in _ANNOTATIONS}
        return {"anyOf": [target, {"type": "null"}], **described}
    return {**target, **own} if own.keys() <= _ANNOTATIONS else {"allOf": [target, own]}


def _modernized(node: Mapping, written: Mapping) -> Mapping:
    """What 3.0 says in words of its own, in those of JSON Schema 2020-12."""
    if "example" in node and "examples" not in written:
        written["examples"] = [node["example"]]
    elif not isinstance(written.get("examples", []), list):
        del written["examples"]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(written.get(exclusive), bool) and written.pop(exclusive) and bound in written:
            written[exclusive] = written.pop(bound)
    if node.get("nullable") is not True:
        return written
    if isinstance(written.get("type"), str):
        values = written.get("enum")
        if isinstance(values, list) and None not in values:
            written["enum"] = [*cast("list[Any]", values), None]
        return {**written, "type": [written["type"], "null"]}
    if "type" in written:
        return written
    return {"anyOf": [written, {"type": "null"}]} if written else {}
