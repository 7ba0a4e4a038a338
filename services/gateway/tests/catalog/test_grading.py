"""What a change of a definition is graded as, and why."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.messages.catalog import DefinitionKind
from interlock_gateway.catalog.grading import MAX_REASONS, grade

TOOL: dict[str, Any] = {
    "name": "send",
    "title": "Send",
    "description": "Sends a note, see https://notes.example.com/help",
    "inputSchema": {
        "type": "object",
        "properties": {
            "to": {"type": "string", "description": "who"},
            "limit": {"type": "number", "maximum": 1.5, "default": {"description": "data"}},
            "title": {"type": "string"},
        },
        "required": ["to"],
        "$defs": {"description": {"type": "string", "title": "a type that is named so"}},
    },
    "annotations": {"title": "Send", "readOnlyHint": True},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def changed(path: str, value: Any = ...) -> dict[str, Any]:
    """TOOL with the member at ``path`` set to ``value``, or without it."""
    copy: dict[str, Any] = json.loads(json.dumps(TOOL))
    *way, last = path.split("/")
    place: Any = copy
    for step in way:
        place = place.setdefault(step, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


def graded(old: Any, new: Any, kind: DefinitionKind = "tool") -> tuple[str, tuple[str, ...]]:
    result = grade(kind, json.dumps(old).encode(), json.dumps(new).encode())
    return result.grade, result.reasons


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("description", "Sends a letter, see https://notes.example.com/help"),
        ("description", ...),
        ("title", "Post"),
        ("annotations/title", "Post"),
        ("icons", [{"src": "data:image/png;base64,AAAA"}]),
        ("inputSchema/description", "everything"),
        ("inputSchema/properties/to/description", "whom"),
        ("inputSchema/properties/to/title", "Whom"),
        ("inputSchema/$defs/description/title", "still a type"),
    ],
)
def test_texts_only_are_graded_description(path: str, value: Any) -> None:
    assert graded(TOOL, changed(path, value))[0] == "description"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("inputSchema/properties/cc", {"type": "string"}, "parameter cc of inputSchema is new"),
        ("inputSchema/properties/to", ..., "parameter to of inputSchema is gone"),
        ("inputSchema/properties/title", {"type": "number"}, "parameter title of inputSchema changed"),
        ("inputSchema/properties/limit/maximum", 1.50001, "parameter limit of inputSchema changed"),
        ("inputSchema/properties/limit/default/description", "other data", "parameter limit of inputSchema changed"),
        ("inputSchema/required", ["to", "limit"], "required of inputSchema changed"),
        ("inputSchema/$defs/description/type", "number", "$defs of inputSchema changed"),
        ("inputSchema", {"$ref": "#/x"}, "parameter limit of inputSchema is gone"),
        ("outputSchema", {"type": "object"}, "outputSchema is new"),
        ("annotations/readOnlyHint", False, "readOnlyHint went from true to false"),
        ("annotations/destructiveHint", True, "destructiveHint went from unset to true"),
        ("annotations", ..., "readOnlyHint went from true to unset"),
        ("description", "Sends to https://evil.example.com/x instead", "new URL https://evil.example.com/x"),
        ("icons", [{"src": "https://evil.example.com/i.png"}], "new URL https://evil.example.com/i.png"),
        ("_meta", {"anything": 1}, "_meta is new"),
        ("execution", {"taskSupport": "required"}, "execution is new"),
    ],
)
def test_anything_else_widens_and_says_what(path: str, value: Any, reason: str) -> None:
    grade_, reasons = graded(TOOL, changed(path, value))
    assert grade_ == "widened"
    assert reason in reasons


@pytest.mark.parametrize(
    "new", [b'{"name": "a", "name": "b"}', b'{"name":"a","x":{"y":1,"y":2}}', b'{"x":%s}' % (b"1" * 5000)]
)
def test_what_readers_could_read_differently_widens(new: bytes) -> None:
    assert grade("tool", b'{"name": "a"}', new).grade == "widened"


def test_true_is_not_one() -> None:
    assert graded({"x": True}, {"x": 1})[0] == "widened"


def test_the_way_it_is_written_is_form_only() -> None:
    assert graded(TOOL, dict(reversed(TOOL.items())))[0] == "form"
    assert grade("tool", b'{"name":"\\u00e9"}', '{ "name" : "é" }'.encode()).grade == "form"


def test_what_a_server_measures_of_a_resource_is_form_only() -> None:
    before = {"uri": "x://a", "name": "a", "size": 1, "annotations": {"lastModified": "2026-01-01", "priority": 1}}
    after = {"uri": "x://a", "name": "a", "size": 2, "annotations": {"lastModified": "2026-01-02", "priority": 1}}
    assert graded(before, after, "resource")[0] == "form"
    assert graded(before, after, "tool")[0] == "widened"
    assert graded(before, {**after, "mimeType": "text/html"}, "resource")[0] == "widened"
    assert graded(before, {**after, "name": "b"}, "resource")[0] == "description"


def test_a_new_argument_of_a_prompt_widens_and_its_text_does_not() -> None:
    before = {"name": "p", "arguments": [{"name": "a", "description": "x"}]}
    assert graded(before, {"name": "p", "arguments": [{"name": "a", "description": "y"}]}, "prompt")[0] == "description"
    assert graded(before, {"name": "p", "arguments": [{"name": "a", "required": True}]}, "prompt")[0] == "widened"
    assert graded(before, {"name": "p", "arguments": [{"name": "a"}, {"name": "b"}]}, "prompt")[0] == "widened"


def test_reasons_are_few_and_short() -> None:
    many: dict[str, Any] = {f"p{number}" + "x" * 500: {} for number in range(100)}
    _, reasons = graded(TOOL, changed("inputSchema/properties", many))
    assert len(reasons) == MAX_REASONS
    assert max(map(len, reasons)) <= 200


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=5))
def test_a_definition_written_otherwise_is_the_same(definition: dict[str, Any]) -> None:
    shuffled = json.dumps(definition, sort_keys=True, indent=2, ensure_ascii=False)
    for kind in ("tool", "resource", "template", "prompt"):
        assert grade(kind, json.dumps(definition).encode(), shuffled.encode("utf-8", "surrogatepass")).grade == "form"


@given(json_values, json_values)
def test_no_schema_is_taken_for_another(one: Any, other: Any) -> None:
    """Whatever two schemas of data are: they are one only if they are equal."""
    old, new = {"inputSchema": {"default": one}}, {"inputSchema": {"default": other}}
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (graded(old, new)[0] == "form") == same
