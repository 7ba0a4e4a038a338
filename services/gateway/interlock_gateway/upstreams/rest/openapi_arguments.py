"""The arguments of one operation: its parameters and its body, and where each of them goes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from interlock_gateway.upstreams.rest.openapi_document import Document, Mapping, Unusable, mapping, text
from interlock_gateway.upstreams.rest.openapi_schema import Schema, SchemaWriter
from interlock_gateway.upstreams.rest.request import FORBIDDEN_HEADERS, WHOLE_BODY

MAX_ARGUMENTS = 200
MAX_NAME = 100

_ARGUMENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_ARGUMENT = re.compile(r"[^A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_OF_THE_MESSAGE = frozenset({"accept", "content-type", "authorization"})
"""Parameters of these names are to be ignored (OpenAPI 3.1, parameter object)."""
_SPREADS = frozenset({
    "type", "properties", "required", "title", "description", "additionalProperties", "examples", "default", "$defs",
})  # fmt: skip
"""The keywords of a body whose members can be arguments: with any other, it means more than its members."""
_SEPARATED = {"form": "commas", "spaceDelimited": "spaces", "pipeDelimited": "pipes"}

_STYLES = {"path": "simple", "header": "simple", "query": "form"}


@dataclass
class Arguments:
    """What a tool takes, as it is gathered."""

    document: Document
    writer: SchemaWriter
    path: str
    notes: list[str]
    properties: Mapping = field(default_factory=dict[str, Any])
    required: list[str] = field(default_factory=list[str])
    query: dict[str, str] = field(default_factory=dict[str, str])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: dict[str, str] = field(default_factory=dict[str, str])
    _in_path: dict[str, str] = field(default_factory=dict[str, str])

    def add_parameters(self, lists: list[Any]) -> None:
        """Take in the parameters of a path and of its operation, the latter winning; raises Unusable."""
        found: dict[tuple[str, str], Mapping] = {}
        for parameter in _items(lists):
            resolved = self.document.resolved(parameter)
            found[text(resolved.get("in")), text(resolved.get("name"))] = resolved
        for (place, name), parameter in found.items():
            if place in _STYLES and name:
                self._add_parameter(place, name, parameter)
            else:
                self.notes.append(f"the parameter {name[:64]!r} in {place[:32] or 'no place'} is left out")
        for name in _VARIABLE.findall(self.path):
            if name not in self._in_path:
                self.notes.append(f"the path takes {name[:64]!r}, which is not described: a text")
                self._in_path[name] = self._claim(name, "path", {"type": "string"}, required=True)

    def template(self) -> str:
        """The path with arguments for its variables."""
        return _VARIABLE.sub(lambda variable: f"{{{self._in_path[variable[1]]}}}", self.path)

    def add_body(self, node: Any) -> None:
        """Take in a request body that is JSON; raises Unusable for one that is needed and is not."""
        if node is None:
            return
        body = self.document.resolved(node)
        required = body.get("required") is True
        content = mapping(body.get("content")) or {}
        media = next((mapping(value) for kind, value in content.items() if is_json(kind)), None)
        if media is None:
            kinds = ", ".join(content)[:100] or "nothing"
            if required:
                raise Unusable(f"its body is {kinds}, and only JSON can be sent")
            self.notes.append(f"the body ({kinds}) is left out: only JSON can be sent")
            return
        schema = self.writer.whole(media.get("schema", {}))
        members = _members(schema)
        if members is None or (members[1] and not required) or not self.properties.keys().isdisjoint(members[0]):
            self.body[WHOLE_BODY] = self._claim("body", "request", _described(schema, body), required=required)
            return
        self.properties |= members[0]
        self.required += members[1]
        self.body = {name: name for name in members[0]}

    def input_schema(self) -> Mapping:
        """The schema of all arguments; raises Unusable."""
        if len(self.properties) > MAX_ARGUMENTS:
            raise Unusable(f"it has over {MAX_ARGUMENTS} arguments")
        schema: Mapping = {"type": "object", "properties": self.properties}
        if self.required:
            schema["required"] = self.required
        schema["additionalProperties"] = False
        if definitions := self.writer.definitions():
            schema["$defs"] = definitions
        return schema

    def _add_parameter(self, place: str, name: str, parameter: Mapping) -> None:
        required = place == "path" or parameter.get("required") is True
        reason = self._unsendable(place, name)
        if reason:
            self.notes.append(f"the parameter {name[:64]!r} {reason}")
            return
        try:
            schema = self._schema_of(place, parameter)
        except Unusable as error:
            if required:
                raise
            self.notes.append(f"the parameter {name[:64]!r} is left out: {error}")
            return
        argument = self._claim(name, place, _described(schema, parameter), required=required)
        {"path": self._in_path, "query": self.query, "header": self.headers}[place][name] = argument

    def _unsendable(self, place: str, name: str) -> str:
        if len(name) > MAX_NAME:
            return f"has a name of over {MAX_NAME} characters"
        if place == "path" and f"{{{name}}}" not in self.path:
            return "is not in the path"
        if place == "header" and name.lower() in _OF_THE_MESSAGE | FORBIDDEN_HEADERS:
            return "is a header that is not for arguments to set"
        if place == "header" and _HEADER_NAME.fullmatch(name) is None:
            return "is no name of a header"
        return ""

    def _schema_of(self, place: str, parameter: Mapping) -> Schema:
        """The schema of a parameter, a text where it has a form that only its author can write; raises Unusable."""
        content = mapping(parameter.get("content"))
        if content:
            media = next((mapping(value) for kind, value in content.items() if is_json(kind)), None)
            node = (media or {}).get("schema")
            if not _is_object(self._raw(node)):
                raise Unusable("it is written as JSON or another format")
            return self.writer.schema(node)
        node = parameter.get("schema", {})
        style = text(parameter.get("style")) or _STYLES[place]
        if style not in ({_STYLES[place], *_SEPARATED, "deepObject"} if place == "query" else {_STYLES[place]}):
            raise Unusable(f"its style {style[:32]!r} is not known")
        if _is_object(self._raw(node)):
            raise Unusable("it is an object, which no argument of an address or header can be")
        explode = parameter.get("explode", style == "form")
        if place == "query" and _is_array(self._raw(node)) and explode is not True:
            return {"type": "string", "description": f"Several values, separated by {_SEPARATED.get(style, 'commas')}."}
        return self.writer.schema(node)

    def _raw(self, node: Any) -> Mapping:
        """A schema as the document has it, behind its references."""
        return {} if mapping(node) is None else self.document.resolved(node)

    def _claim(self, name: str, place: str, schema: Schema, *, required: bool) -> str:
        """Give an argument a name of its own, and take it in."""
        plain = _NOT_ARGUMENT.sub("_", name).strip("_")[:50] or "argument"
        argument, number = plain, 1
        while argument in self.properties:
            argument = f"{plain}_{place}" if number == 1 else f"{plain}_{place}_{number}"
            number += 1
        self.properties[argument] = schema
        if required:
            self.required.append(argument)
        return argument


def _members(schema: Schema) -> tuple[Mapping, list[str]] | None:
    """The members of a body and which are required, if each can be an argument of its own."""
    if not isinstance(schema, dict) or not schema.keys() <= _SPREADS:
        return None
    properties = mapping(schema.get("properties"))
    required: Any = schema.get("required", [])
    if not properties or not _is_object(schema) or not isinstance(required, list):
        return None
    names = [name for name in cast("list[Any]", required) if isinstance(name, str)]
    fits = all(_ARGUMENT.fullmatch(name) for name in properties) and set(names) <= properties.keys()
    return (properties, names) if fits and schema.get("additionalProperties", False) is False else None


def is_json(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() == "application/json"


def _items(lists: list[Any]) -> Iterator[Any]:
    for items in lists:
        if items is None:
            continue
        if not isinstance(items, list):
            raise Unusable("its parameters are no list")
        yield from cast("list[Any]", items)


def _described(schema: Schema, source: Mapping) -> Schema:
    """A schema with the description of what it belongs to, where it has none itself."""
    said = text(source.get("description")).strip()
    if not said or not isinstance(schema, dict) or "description" in schema:
        return schema
    return {**schema, "description": said}


def _is_object(schema: Mapping) -> bool:
    kind = schema.get("type")
    return kind == "object" or (kind is None and "properties" in schema)


def _is_array(schema: Mapping) -> bool:
    kind = schema.get("type")
    return kind == "array" or (isinstance(kind, list) and "array" in kind)
