"""Arguments of a tool held against its input schema, before they are sent to something that may trust them."""

from collections import OrderedDict
from itertools import islice
from typing import Any

import jsonschema_rs
import msgspec

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import Definition

_MAX_COMPILED = 1024
_MAX_SHOWN = 3
_MAX_WORDS = 200
_BACKTRACK_LIMIT = 100_000


class ArgumentsInvalid(InvalidInput):
    """The arguments do not fit the tool; the message says where, never with the value."""

    code = "arguments_invalid"


class SchemaInvalid(InvalidInput):
    """No JSON Schema, or one that refers to something outside itself."""

    code = "schema_invalid"


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    input_schema: dict[str, Any]


_tool = msgspec.json.Decoder(_Tool)


def compiled(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    """A validator that fetches nothing, of draft 2020-12 where ``$schema`` names no other; raises SchemaInvalid."""
    try:
        return jsonschema_rs.validator_for(
            schema,
            mask="the value",
            offline=True,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_LIMIT),
        )
    except ValueError as error:
        raise SchemaInvalid(f"no JSON Schema: {str(error).partition('\n')[0][:_MAX_WORDS]}") from None


def check_schema(tool: Definition) -> None:
    """Hold a definition against what calls will need of it, when it is registered; raises SchemaInvalid."""
    compiled(_schema_of(tool))


class ArgumentChecks:
    """Validators of tools, compiled once for each digest of a definition."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[str, jsonschema_rs.Validator] = OrderedDict()

    def check(self, tool: Definition, arguments: object) -> None:
        """Raises ArgumentsInvalid, and SchemaInvalid for a tool that nothing can be held against."""
        validator = self._validator(tool)
        try:
            problems = [_said(error) for error in islice(validator.iter_errors(arguments), _MAX_SHOWN + 1)]
        except ValueError:  # nested deeper than the library goes
            raise ArgumentsInvalid(f"arguments of {tool.name} are nested too deep") from None
        if problems:
            more = "; and more" if len(problems) > _MAX_SHOWN else ""
            raise ArgumentsInvalid(f"invalid arguments for {tool.name}: {'; '.join(problems[:_MAX_SHOWN])}{more}")

    def _validator(self, tool: Definition) -> jsonschema_rs.Validator:
        known = self._compiled.get(tool.digest)
        if known is None:
            known = self._compiled[tool.digest] = compiled(_schema_of(tool))
            if len(self._compiled) > _MAX_COMPILED:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(tool.digest)
        return known


def _schema_of(tool: Definition) -> dict[str, Any]:
    try:
        return _tool.decode(tool.definition).input_schema
    except (msgspec.DecodeError, RecursionError):
        raise SchemaInvalid(f"the tool {tool.name} has no input schema that can be read") from None


def _said(error: jsonschema_rs.ValidationError) -> str:
    place = ".".join(str(step) for step in error.instance_path)
    return (f"{place}: {error.message}" if place else error.message)[:_MAX_WORDS]
