"""One operation of an OpenAPI document as a tool."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import RestCall
from interlock_gateway.nesting import deeper_than
from interlock_gateway.upstreams.rest.arguments import SchemaInvalid, compiled
from interlock_gateway.upstreams.rest.openapi_arguments import Arguments, is_json
from interlock_gateway.upstreams.rest.openapi_document import MAX_DEPTH, Document, Mapping, Unusable, mapping, text
from interlock_gateway.upstreams.rest.openapi_schema import SchemaWriter, TooMuch, Work
from interlock_gateway.upstreams.rest.request import check_call

METHODS = ("get", "post", "put", "patch", "delete")
OTHER_METHODS = ("head", "options", "trace")

MAX_DEFINITION_BYTES = 128 * 1024
MAX_NAME = 64
_MAX_DESCRIPTION = 8192
_MAX_TITLE = 200
_NOT_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_SUCCESS = re.compile(r"2(?:[0-9][0-9]|XX)", re.IGNORECASE)
_HINTS = {
    "get": {"readOnlyHint": True},
    "put": {"idempotentHint": True},
    "delete": {"destructiveHint": True},
}


@dataclass(frozen=True)
class Operation:
    """An operation as the document has it; ``shared`` is its path item."""

    method: str
    path: str
    node: Mapping
    shared: Mapping

    @property
    def label(self) -> str:
        return f"{self.method.upper()} {self.path}"[:200]

    @property
    def plain_name(self) -> str:
        """A name of 1 to 64 of ``[A-Za-z0-9_.-]``, not yet unique."""
        given = text(self.node.get("operationId")) or re.sub(r"[/_{}]+", "_", f"{self.method}{self.path}")
        return _NOT_NAME.sub("_", given).strip("_")[:MAX_NAME] or self.method


@dataclass(frozen=True)
class Tool:
    """An operation as a tool; ``definition`` is the tool object."""

    name: str
    definition: bytes
    call: RestCall
    notes: tuple[str, ...]


@dataclass
class _Draft:
    """One attempt to write an operation, with references replaced or kept."""

    document: Document
    work: Work
    operation: Operation
    inline: bool
    keeps_siblings: bool
    notes: list[str] = field(default_factory=list[str])

    def tool(self, name: str) -> Tool:
        node, shared = self.operation.node, self.operation.shared
        if "servers" in node or "servers" in shared:
            raise Unusable("it has servers of its own")
        arguments = Arguments(self.document, self._writer(sending=True), self.operation.path, self.notes)
        arguments.add_parameters([shared.get("parameters"), node.get("parameters")])
        if self.operation.method == "get":
            if "requestBody" in node:
                self.notes.append("the body of a GET is left out")
        else:
            arguments.add_body(node.get("requestBody"))
        schema = arguments.input_schema()
        call = RestCall(
            method=_METHOD_NAMES[self.operation.method],
            path=arguments.template(),
            query=arguments.query,
            headers=arguments.headers,
            body=arguments.body,
        )
        try:
            compiled(schema)
            check_call(call, arguments.properties)
        except InvalidInput as error:
            raise Unusable(error.detail) from None
        return Tool(name, self._definition(name, schema), call, tuple(self.notes))

    def _definition(self, name: str, schema: Mapping) -> bytes:
        node = self.operation.node
        summary, description = text(node.get("summary")).strip(), text(node.get("description")).strip()
        tool: Mapping = {"name": name}
        if summary:
            tool["title"] = summary[:_MAX_TITLE]
        told = summary if description in {"", summary} else f"{summary}\n\n{description}".strip()
        tool["description"] = told[:_MAX_DESCRIPTION] or self.operation.label
        tool["inputSchema"] = schema
        if (output := self._output()) is not None:
            tool["outputSchema"] = output
        if hints := _HINTS.get(self.operation.method):
            tool["annotations"] = hints
        definition = msgspec.json.encode(tool)
        if len(definition) > MAX_DEFINITION_BYTES and "outputSchema" in tool:
            self.notes.append("the schema of its answer is left out: it is too large")
            del tool["outputSchema"]
            definition = msgspec.json.encode(tool)
        if len(definition) > MAX_DEFINITION_BYTES:
            raise Unusable(f"its definition is over {MAX_DEFINITION_BYTES} bytes")
        if deeper_than(definition, MAX_DEPTH):
            raise Unusable(f"its definition is nested over {MAX_DEPTH} levels deep")
        return definition

    def _output(self) -> Mapping | None:
        """The schema of the first successful JSON answer, if that is an object."""
        try:
            node = self._answer()
            raw = {} if mapping(node) is None else self.document.resolved(node)
            if raw.get("type") != "object" or raw.get("nullable") is True:
                return None
            writer = self._writer(sending=False)
            schema = writer.whole(node)
            if not isinstance(schema, dict):
                return None
            schema.setdefault("type", "object")
            if definitions := writer.definitions():
                schema["$defs"] = definitions
            compiled(schema)
        except TooMuch:
            if self.inline:
                raise
            self.notes.append("the schema of its answer is left out: it is too large")
            return None
        except (Unusable, SchemaInvalid) as error:
            self.notes.append(f"the schema of its answer is left out: {error}")
            return None
        return schema

    def _answer(self) -> Any:
        responses = mapping(self.operation.node.get("responses")) or {}
        for status in sorted(status for status in responses if _SUCCESS.fullmatch(status)):
            content = mapping(self.document.resolved(responses[status]).get("content")) or {}
            for kind, media in content.items():
                if is_json(kind):
                    return (mapping(media) or {}).get("schema")
        return None

    def _writer(self, *, sending: bool) -> SchemaWriter:
        return SchemaWriter(self.document, self.work, self.inline, sending, self.keeps_siblings)


_METHOD_NAMES: dict[str, Any] = {method: method.upper() for method in METHODS}


def tool_of(document: Document, work: Work, operation: Operation, name: str, *, keeps_siblings: bool) -> Tool:
    """The operation as the tool ``name``; raises Unusable and OpenApiInvalid."""
    for inline in (True, False):
        try:
            return _Draft(document, work, operation, inline, keeps_siblings).tool(name)
        except TooMuch:
            continue
    raise Unusable("its schemas are too large")
