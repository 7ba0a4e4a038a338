import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import RestCall
from interlock_gateway.upstreams.discovery.definitions import read_definition
from interlock_gateway.upstreams.rest.openapi import Imported, import_openapi
from interlock_gateway.upstreams.rest.openapi_document import MAX_BYTES, MAX_NODES, OpenApiInvalid, read
from interlock_gateway.upstreams.rest.request import check_call

DOCUMENTS = Path(__file__).parent / "openapi"
KENNEL = (DOCUMENTS / "kennel-3.0.yaml").read_bytes()
LIBRARY = (DOCUMENTS / "library-3.1.json").read_bytes()


MORE_THAN_MEMBERS: list[Any] = [
    {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
    {"type": "object", "properties": {"a": {}}, "additionalProperties": {}},
    {"type": "object", "properties": {"a": {}}, "minProperties": 1},
    {"type": "object", "properties": {"a b": {}}},
    {"type": "object"},
    {"type": ["object", "null"], "properties": {"a": {}}},
    {"oneOf": [{"type": "object", "properties": {"a": {}}}]},
    True,
]


def tools_of(imported: Imported) -> dict[str, Any]:
    """The tools by name, each one that clients and edges can use."""
    tools: dict[str, Any] = {}
    for definition in imported.definitions:
        assert read_definition("tool", definition, "here").name not in tools
        tool = json.loads(definition)
        Draft202012Validator.check_schema(tool["inputSchema"])
        Draft202012Validator.check_schema(tool.get("outputSchema", {}))
        check_call(imported.rest[tool["name"]], tool["inputSchema"]["properties"])
        tools[tool["name"]] = tool
    assert tools.keys() == imported.rest.keys()
    return tools


def document(**changes: Any) -> bytes:
    """A small document, but for ``changes``."""
    base: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Small"},
        "servers": [{"url": "https://small.example"}],
        "paths": {"/x": {"get": {"operationId": "x", "responses": {}}}},
    }
    return json.dumps(base | changes).encode()


def operation(node: dict[str, Any], *, path: str = "/x", method: str = "post", **changes: Any) -> bytes:
    return document(paths={path: {method: {"operationId": "x", "responses": {}} | node}}, **changes)


def body_of(schema: Any, **changes: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}} | changes}


def test_a_document_of_3_0_becomes_tools() -> None:
    imported = import_openapi(KENNEL)
    assert (imported.name, imported.url) == ("Kennel", "https://eu.kennel.example/v2")
    assert imported.description == "Dogs, and who walks them."
    tools = tools_of(imported)
    assert list(tools) == ["listDogs", "addDog", "get_dog", "replaceDog", "removeDog", "get_walks_when", "walk"]
    assert imported.rest["listDogs"] == RestCall(
        "GET",
        "/dogs",
        query={"breed": "breed", "ids": "ids", "limit": "limit", "near": "near"},
        headers={"X-Request-Id": "X-Request-Id"},
        body={},
    )
    dogs = tools["listDogs"]
    assert (dogs["title"], dogs["description"]) == ("List dogs", "List dogs\n\nLists dogs, youngest first.")
    properties = dogs["inputSchema"]["properties"]
    assert properties["breed"] == {"type": "array", "items": {"type": "string"}, "description": "A breed."}
    assert properties["ids"] == {"type": "string", "description": "Several values, separated by commas."}
    assert properties["limit"] == {"type": "integer", "exclusiveMinimum": 0, "default": 20}
    assert dogs["inputSchema"]["additionalProperties"] is False
    assert dogs["outputSchema"]["required"] == ["dogs"]


def test_what_cannot_be_imported_is_noted_with_its_reason() -> None:
    notes = "\n".join(import_openapi(KENNEL).notes)
    for note in (
        "GET /dogs: the parameter 'session' in cookie is left out",
        "GET /dogs: the parameter 'Authorization' is a header that is not for arguments to set",
        "GET /dogs: the parameter 'filter' is left out: it is an object",
        "HEAD /dogs is left out: no tool calls with this method",
        "PATCH /dogs/{dog id} is left out: it is deprecated",
        "POST /dogs/{dog id}/photo is left out: its body is multipart/form-data, and only JSON can be sent",
        "GET /walks/{when}: the path takes 'when', which is not described: a text",
        "the API asks for credentials (apiKey): register them with the upstream",
    ):
        assert note in notes


def test_each_side_has_the_properties_it_may_write() -> None:
    tool = tools_of(import_openapi(KENNEL))["addDog"]
    sent, answered = tool["inputSchema"], tool["outputSchema"]
    assert "id" not in sent["properties"]
    assert sent["required"] == ["name", "chip"]
    assert "chip" not in answered["properties"]
    assert answered["required"] == ["id", "name"]


def test_words_of_3_0_become_those_of_json_schema() -> None:
    properties = tools_of(import_openapi(KENNEL))["addDog"]["inputSchema"]["properties"]
    assert properties["name"] == {"type": "string", "description": "What it is called.", "examples": ["Rex"]}
    assert properties["kind"] == {"type": ["string", "null"], "enum": ["no", "yes", None]}
    assert properties["born"] == {
        "type": "string", "format": "date", "examples": ["2020-01-01"], "description": "Its birthday.",
    }  # fmt: skip
    assert properties["mother"] == {"anyOf": [{"allOf": [{"$ref": "#/$defs/Dog"}]}, {"type": "null"}]}


def test_a_schema_that_holds_itself_stays_a_reference_and_validates() -> None:
    schema = tools_of(import_openapi(KENNEL))["addDog"]["inputSchema"]
    assert list(schema["$defs"]) == ["Dog"]
    dog: dict[str, Any] = {"name": "Rex", "chip": "1"}
    validator: Any = Draft202012Validator(schema)
    assert validator.is_valid(dog | {"mother": dog | {"mother": None}})
    assert not validator.is_valid(dog | {"mother": {"mother": None}})
    assert not validator.is_valid(dog | {"puppies": [dog | {"puppies": [{}]}]})


def test_bodies_are_spread_into_arguments_where_no_name_is_taken() -> None:
    kennel = import_openapi(KENNEL)
    assert kennel.rest["replaceDog"].path == "/dogs/{dog_id}"
    assert kennel.rest["replaceDog"].body == {
        name: name for name in ("name", "chip", "kind", "mother", "puppies", "born")
    }
    assert kennel.rest["walk"].body == {"": "body"}
    library = import_openapi(LIBRARY)
    assert library.rest["shelve"].body == {"": "body"}  # the path has a shelf too
    assert tools_of(library)["shelve"]["inputSchema"]["required"] == ["shelf", "body"]
    assert library.rest["add"].body == {"": "body"}  # it may be left out, its title then too


def test_hints_follow_the_method() -> None:
    tools = tools_of(import_openapi(KENNEL))
    hints = {name: tool.get("annotations") for name, tool in tools.items()}
    assert hints["get_dog"] == {"readOnlyHint": True}
    assert hints["removeDog"] == {"destructiveHint": True}
    assert hints["replaceDog"] == {"idempotentHint": True}
    assert hints["addDog"] is None
    assert "outputSchema" not in tools["get_dog"]  # an array


def test_a_document_of_3_1_becomes_tools_and_never_leads_outside() -> None:
    imported = import_openapi(LIBRARY)
    tools = tools_of(imported)
    assert list(tools) == ["shelve", "add", "get_broken"]
    book = tools["shelve"]["outputSchema"]
    assert book["properties"]["sequel"] == {
        "allOf": [{"$ref": "#/$defs/Book"}, {"description": "What comes next.", "minProperties": 1}]
    }
    assert set(book["$defs"]) == {"Book"}
    notes = "\n".join(imported.notes)
    for note in (
        "/outside is left out: it refers to 'https://elsewhere.example/paths.json#/x', which is not inside",
        "GET /broken: the parameter 'a' is left out: it refers to 'other.yaml#/A', which is not inside",
        "POST /broken is left out: its references lead in a circle",
        "PUT /broken is left out: a schema in it sets its own base for references",
        "DELETE /broken is left out: it has servers of its own",
        "PATCH /broken is left out: no JSON Schema",
    ):
        assert note in notes


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        (["listDogs"], [], ["listDogs"]),
        (["tag:walks"], [], ["get_walks_when", "walk"]),
        (["GET *"], ["tag:*"], ["get_dog"]),
        (["renameDog"], [], ["renameDog"]),
        ([], ["*Dog*", "get*"], ["walk"]),
    ],
)
def test_operations_can_be_chosen(include: list[str], exclude: list[str], names: list[str]) -> None:
    imported = import_openapi(KENNEL, include=include, exclude=exclude)
    assert list(tools_of(imported)) == names
    assert any("left out by choice" in note for note in imported.notes)


def test_names_are_made_valid_and_unique() -> None:
    long = "n" * 100
    names = ["a b", "a_b", "a/b", long, f"{long}x", "été", "☃"]
    paths: Any = {f"/{number}": {"get": {"operationId": name}} for number, name in enumerate(names)}
    tools = tools_of(import_openapi(document(paths=paths)))
    assert list(tools) == ["a_b", "a_b_2", "a_b_3", "n" * 64, "n" * 62 + "_2", "t", "get"]


def test_arguments_of_one_name_are_told_apart() -> None:
    parameters: Any = [
        {"name": "id", "in": place, "required": True, "schema": {}} for place in ("path", "query", "header")
    ]
    body = body_of({"type": "object", "properties": {"body": {}, "id": {}}}, required=True)
    imported = import_openapi(operation({"parameters": parameters} | body, path="/x/{id}"))
    assert imported.rest["x"] == RestCall(
        "POST", "/x/{id}", query={"id": "id_query"}, headers={"id": "id_header"}, body={"": "body"}
    )
    assert json.loads(imported.definitions[0])["inputSchema"]["required"] == ["id", "id_query", "id_header", "body"]


@pytest.mark.parametrize("schema", MORE_THAN_MEMBERS)
def test_a_body_that_is_more_than_its_members_is_one_argument(schema: Any) -> None:
    assert import_openapi(operation(body_of(schema, required=True))).rest["x"].body == {"": "body"}


@pytest.mark.parametrize(
    ("servers", "base_url", "url"),
    [
        ([{"url": "https://a.example/v1"}, {"url": "https://b.example"}], None, "https://a.example/v1"),
        ([{"url": "/v1"}], "https://b.example/v1", "https://b.example/v1"),
        (None, "http://b.example:8080", "http://b.example:8080"),
    ],
)
def test_the_upstream_is_where_it_was_told_or_at_the_first_server(servers: Any, base_url: str, url: str) -> None:
    assert import_openapi(document(servers=servers), base_url=base_url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "/v1", "", "ftp://a.example", "https://", "https://u:p@a.example", "https://a.example/#f", "https://a\n",
        "https://[", "https://a:99999", "{x}", 7, None,
    ],
)  # fmt: skip
def test_an_address_that_is_none_asks_for_another(url: Any) -> None:
    with pytest.raises(OpenApiInvalid):
        import_openapi(document(servers=[{"url": url}]))
    if isinstance(url, str):
        with pytest.raises(OpenApiInvalid):
            import_openapi(document(), base_url=url)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no object"),
        (b"[]", "is no object"),
        (b"{", "neither JSON nor YAML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: [b\nc: d", "neither JSON nor YAML in line 2"),
        (b"swagger: '2.0'", "OpenAPI 3.0 or 3.1"),
        (b"openapi: 3.2.0", "OpenAPI 3.0 or 3.1"),
        (b"openapi: 3.0.0\n---\nopenapi: 3.0.0", "several documents"),
        (b"a: !!python/object/apply:os.system [id]", "the tag"),
        (b"a: !!binary aGk=", "the tag"),
        (b"? [a]\n: b", "a key of the document is no text"),
        (b"a: &a [*a]", "an alias stands for something that holds it"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested over 64 levels"),
        (b"a: " + b"[" * 70 + b"]" * 70, "nested over 64 levels"),
        (b" " * (MAX_BYTES + 1), "over 4194304 bytes"),
        (b"- 1\n" * (MAX_NODES + 1), "over 400000 values"),
        (document(paths={}), "no paths"),
        (document(paths=[1]), "no paths"),
        (document(paths={"/x": {"trace": {}}}), "no operation of the document can be a tool: TRACE /x"),
        (document(servers=[]), "names no server"),
    ],
)
def test_what_is_no_such_document_is_refused_in_words(content: bytes, words: str) -> None:
    with pytest.raises(OpenApiInvalid, match=words):
        import_openapi(content)


def test_aliases_are_counted_by_what_they_stand_for() -> None:
    lines = [b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)]
    with pytest.raises(OpenApiInvalid, match="with what its aliases stand for"):
        read(b"\n".join(lines))
    deep = [b"a0: &a0 [[[[x]]]]", *(b"a%d: &a%d [[[[*a%d]]]]" % (n, n, n - 1) for n in range(1, 20))]
    with pytest.raises(OpenApiInvalid, match="nested over 64 levels"):
        read(b"\n".join(deep))


def test_yaml_is_read_as_openapi_means_it() -> None:
    found = read(
        b"base: &base {a: 1, b: 2}\nmerged: {<<: *base, b: 3}\nalias: *base\n"
        b"plain: [no, on, 2020-01-01, 1e3, 0x1f, ~, 'true', true, 1_000, .nan, 99999999999999999999]\n200: ok"
    )
    assert found["merged"] == {"a": 1, "b": 3}
    assert found["alias"] == {"a": 1, "b": 2}
    assert found["plain"] == [
        "no", "on", "2020-01-01", 1000.0, "0x1f", None, "true", True, "1_000", ".nan", 1e20,
    ]  # fmt: skip
    assert found["200"] == "ok"
    assert read(b"{a: [b]}") == {"a": ["b"]}


def test_references_that_multiply_stay_references() -> None:
    schemas: dict[str, Any] = {"S0": {"type": "string"}}
    for number in range(1, 40):
        reference = {"$ref": f"#/components/schemas/S{number - 1}"}
        schemas[f"S{number}"] = {"type": "object", "properties": {"a": reference, "b": reference}}
    content = operation(body_of({"$ref": "#/components/schemas/S39"}, required=True), components={"schemas": schemas})
    imported = import_openapi(content)
    tool = tools_of(imported)["x"]
    assert len(imported.definitions[0]) < 20_000
    assert len(tool["inputSchema"]["$defs"]) == 39
    assert imported.rest["x"].body == {"a": "a", "b": "b"}


def test_a_long_chain_of_references_does_not_nest() -> None:
    schemas: dict[str, Any] = {"S0": {"type": "string"}}
    for number in range(1, 200):
        schemas[f"S{number}"] = {"type": "array", "items": {"$ref": f"#/components/schemas/S{number - 1}"}}
    content = operation(body_of({"$ref": "#/components/schemas/S199"}, required=True), components={"schemas": schemas})
    assert "$defs" in tools_of(import_openapi(content))["x"]["inputSchema"]


def test_an_answer_too_large_to_describe_costs_its_schema_only() -> None:
    wide: Any = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(4000)}}
    node: Any = {"responses": {"200": {"content": {"application/json": {"schema": wide}}}}}
    imported = import_openapi(operation(node))
    assert "outputSchema" not in tools_of(imported)["x"]
    assert imported.notes == ("POST /x: the schema of its answer is left out: it is too large",)
    with pytest.raises(OpenApiInvalid, match="its schemas are too large"):
        import_openapi(operation(body_of(wide)))


def test_the_work_of_an_import_is_bounded() -> None:
    wide = {f"p{number}": {"type": "string"} for number in range(450)}
    schemas = {"Wide": {"type": "object", "properties": wide}}
    node: Any = body_of({"$ref": "#/components/schemas/Wide"}, required=True)
    paths = {f"/{number}": {"post": node} for number in range(2000)}
    with pytest.raises(OpenApiInvalid, match="choose operations with include"):
        import_openapi(document(paths=paths, components={"schemas": schemas}))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_REFERENCE = st.sampled_from(["#/components/schemas/A", "#/components/schemas/B", "#/x", "#", "y.json", 3]).map(
    lambda reference: {"$ref": reference}
)
_WORDS = st.sampled_from([
    "type", "properties", "items", "allOf", "anyOf", "nullable", "enum", "required", "readOnly", "$ref", "examples",
    "exclusiveMinimum", "minimum", "additionalProperties", "$id", "pattern", "default", "$defs", "x-y", "example",
])  # fmt: skip
_SCHEMA = st.recursive(
    _JSON | _REFERENCE | st.fixed_dictionaries({"type": st.sampled_from(["object", "array", "string", "integer"])}),
    lambda inner: (
        st.dictionaries(_WORDS, inner | st.lists(inner, max_size=2) | _JSON, max_size=4)
        | st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(_WORDS, inner, max_size=3)})
    ),
    max_leaves=10,
)
_CONTENT = st.dictionaries(
    st.sampled_from(["application/json", "text/plain", "application/json;x=y"]),
    st.fixed_dictionaries({"schema": _SCHEMA}) | _JSON,
    max_size=2,
)
_PARAMETER = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "Host", "a b"]) | _JSON,
     "in": st.sampled_from(["path", "query", "header"]) | _JSON},
    optional={"schema": _SCHEMA, "required": _JSON, "style": st.sampled_from(["form", "matrix", 1]), "explode": _JSON,
              "content": _CONTENT, "description": _JSON},
)  # fmt: skip
_RESPONSES = st.dictionaries(st.sampled_from(["200", "2XX", "x"]), st.fixed_dictionaries({"content": _CONTENT}) | _JSON)
_OPERATION = st.fixed_dictionaries(
    {},
    optional={
        "operationId": st.text(max_size=5) | _JSON, "parameters": st.lists(_PARAMETER | _REFERENCE, max_size=3) | _JSON,
        "requestBody": st.fixed_dictionaries({"content": _CONTENT}, optional={"required": _JSON}) | _JSON | _REFERENCE,
        "responses": _RESPONSES | _JSON,
        "tags": _JSON, "summary": _JSON, "description": _JSON, "deprecated": _JSON,
    },
)  # fmt: skip
_DOCUMENT = st.fixed_dictionaries(
    {
        "openapi": st.sampled_from(["3.0.0", "3.1.0"]),
        "paths": st.dictionaries(
            st.sampled_from(["/x", "/{a}", "/{a}/{b c}", "/{", "x", "/a b#", "/.."]),
            st.dictionaries(st.sampled_from(["get", "post", "delete", "parameters", "$ref"]), _OPERATION | _JSON),
            max_size=3,
        ),
        "components": st.fixed_dictionaries({"schemas": st.fixed_dictionaries({"A": _SCHEMA, "B": _SCHEMA})}) | _JSON,
    },
    optional={"info": _JSON, "servers": st.just([{"url": "https://a.example"}]) | _JSON},
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_DOCUMENT)
def test_any_document_is_imported_or_refused_in_words(found: Any) -> None:
    with suppress(InvalidInput):
        tools_of(import_openapi(json.dumps(found).encode(), base_url="https://a.example"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({"A": _SCHEMA, "B": _SCHEMA}), _SCHEMA, st.sampled_from(["3.0.0", "3.1.0"]))
def test_any_schema_is_imported_or_left_out_in_words(schemas: Any, schema: Any, version: str) -> None:
    node = body_of(schema) | {"responses": {"200": {"content": {"application/json": {"schema": schema}}}}}
    with suppress(InvalidInput):
        tools_of(import_openapi(operation(node, openapi=version, components={"schemas": schemas})))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text("{}[]&*!|>-:?#\"'%@`\n\t ,ab1~<\u0085\ufeff", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_in_words(content: bytes) -> None:
    with suppress(OpenApiInvalid):
        read(content)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_document_is_imported_or_refused_in_words(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([KENNEL, LIBRARY]))
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    damaged = (
        content[:start]
        + data.draw(st.binary(max_size=4) | st.sampled_from([b"[", b"}", b'"', b"null"]))
        + content[end:]
    )
    with suppress(InvalidInput):
        tools_of(import_openapi(damaged))
