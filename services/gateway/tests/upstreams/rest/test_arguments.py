import json
from typing import Any

import msgspec
import pytest

from interlock_common.messages.catalog import Definition
from interlock_gateway.upstreams.rest.arguments import ArgumentChecks, ArgumentsInvalid, SchemaInvalid, check_schema


def tool(schema: Any, digest: str = "") -> Definition:
    definition = json.dumps({"name": "t", "inputSchema": schema})
    return Definition("t", msgspec.Raw(definition.encode()), digest or definition)


CITY = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}, "days": {"maximum": 7}}}


def test_arguments_that_fit_pass() -> None:
    ArgumentChecks().check(tool(CITY), {"city": "Oslo", "days": 3})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, '"city" is a required property'),
        ({"city": 4}, "city: the value is not of type"),
        ({"city": "x", "days": 9}, "days: the value is greater than the maximum of 7"),
        ([], "not of type"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: Any, words: str) -> None:
    with pytest.raises(ArgumentsInvalid, match=words):
        ArgumentChecks().check(tool(CITY), arguments)


def test_a_value_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(ArgumentsInvalid) as caught:
        ArgumentChecks().check(tool({"properties": {"password": {"type": "integer"}}}), {"password": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "http://127.0.0.1:9/dialect"},
        {"type": "nonsense"},
        {"pattern": "("},
    ],
)
def test_a_schema_that_leads_outside_or_is_none_is_refused_and_nothing_is_fetched(schema: Any) -> None:
    with pytest.raises(SchemaInvalid):
        ArgumentChecks().check(tool(schema), {})
    with pytest.raises(SchemaInvalid):
        check_schema(tool(schema))


def test_a_definition_without_a_schema_is_refused() -> None:
    with pytest.raises(SchemaInvalid):
        ArgumentChecks().check(Definition("t", msgspec.Raw(b"{}"), "d"), {})


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"$dynamicAnchor": "a", "allOf": [{"$dynamicRef": "#a"}]}]
)
def test_a_schema_that_is_nothing_but_itself_ends(schema: Any) -> None:
    ArgumentChecks().check(tool(schema), {})


def test_arguments_nested_without_end_are_refused() -> None:
    nested: Any = {}
    for _ in range(5000):
        nested = {"a": nested}
    with pytest.raises(ArgumentsInvalid):
        ArgumentChecks().check(tool({"properties": {"a": {"$ref": "#"}}, "required": ["b"]}), nested)


def test_a_schema_is_compiled_once_for_each_digest_and_few_are_kept() -> None:
    checks = ArgumentChecks()
    for number in range(1100):
        checks.check(tool({}, f"d{number}"), {})
    never = tool({"required": ["x"]}, "d1099")
    checks.check(never, {})  # known by its digest, so this schema was not read
    with pytest.raises(ArgumentsInvalid):
        checks.check(tool({"required": ["x"]}, "d0"), {})  # the oldest was forgotten
