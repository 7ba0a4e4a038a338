from typing import Any

import msgspec
import pytest

from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.param_headers import ParamHeaders, invalid_mark


def marked(**properties: Any) -> ParamHeaders:
    return ParamHeaders.of(msgspec.json.encode({"name": "t", "inputSchema": {"properties": properties}}))


TENANT = marked(
    tenant={"type": "string", "x-mcp-header": "Tenant"},
    page={"type": "integer", "x-mcp-header": "Page"},
    where={"type": "object", "properties": {"live": {"type": "boolean", "x-mcp-header": "Live"}}},
)
GOOD = {b"mcp-param-tenant": b"red", b"mcp-param-page": b"3", b"mcp-param-live": b"true"}
ARGUMENTS = b'{"tenant":"red","page":3,"where":{"live":true},"other":1}'


def test_headers_that_say_what_the_body_says_pass() -> None:
    TENANT.check(GOOD, ARGUMENTS)
    TENANT.check(GOOD | {b"mcp-param-page": b"3.0", b"mcp-param-tenant": b"=?base64?cmVk?="}, ARGUMENTS)
    TENANT.check({}, b'{"other":1,"page":null}')
    marked().check({b"mcp-param-anything": b"x"}, b"{}")


@pytest.mark.parametrize(
    "change",
    [
        {b"mcp-param-tenant": b"blue"},
        {b"mcp-param-page": b"4"},
        {b"mcp-param-page": b"three"},
        {b"mcp-param-live": b"True"},
        {b"mcp-param-tenant": b"=?base64?!?="},
    ],
)
def test_headers_that_say_something_else_are_refused(change: dict[bytes, bytes]) -> None:
    with pytest.raises(RpcError) as refused:
        TENANT.check(GOOD | change, ARGUMENTS)
    assert (refused.value.status, refused.value.error.code) == (400, -32020)


def test_a_header_that_is_missing_or_too_many_is_refused() -> None:
    for headers, arguments in (({}, ARGUMENTS), (GOOD, b"{}"), (GOOD, b"[]"), (GOOD, b"{")):
        with pytest.raises(RpcError):
            TENANT.check(headers, arguments)


def test_headers_are_made_of_the_arguments_as_they_leave() -> None:
    assert dict(TENANT.build(b'{"tenant":"r\xc3\xa9d","page":-1,"where":{"live":false}}')) == {
        "mcp-param-tenant": "=?base64?csOpZA==?=", "mcp-param-page": "-1", "mcp-param-live": "false",
    }  # fmt: skip
    assert TENANT.build(b'{"tenant":null}') == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "x-mcp-header": "A"},
        {"type": "string", "x-mcp-header": "not a token"},
        {"type": "string", "x-mcp-header": 7},
        {"x-mcp-header": "A"},
        {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}},
        True,
    ],
)
def test_a_mark_where_none_may_be_counts_for_nothing(schema: Any) -> None:
    assert marked(a=schema).paths == {}


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ({"a": {"type": "string", "x-mcp-header": ""}}, "of 'a' is no name of a header"),
        ({"a": {"type": "string", "x-mcp-header": "Re\ngion"}}, "of 'a' is no name of a header"),
        ({"a": {"type": "string", "x-mcp-header": "R\u00e9gion"}}, "of 'a' is no name of a header"),
        ({"a": {"type": "string", "x-mcp-header": None}}, "of 'a' is no name of a header"),
        ({"a": {"type": "number", "x-mcp-header": "A"}}, "of 'a', which is no string, integer or boolean"),
        ({"a": {"type": ["string", "null"], "x-mcp-header": "A"}}, "of 'a', which is no string, integer or boolean"),
        ({"a": {"properties": {"b": {"x-mcp-header": "A"}}}}, "of 'a.b', which is no string, integer or boolean"),
        (
            {"a": {"type": "string", "x-mcp-header": "Key"}, "b": {"type": "string", "x-mcp-header": "KEY"}},
            "of 'b' repeats that of 'a'",
        ),
        ({"a": {"items": {"type": "string", "x-mcp-header": "A"}}}, "no property is that can be told"),
        ({"a": {"anyOf": [{"type": "string", "x-mcp-header": "A"}]}}, "no property is that can be told"),
        ({"a": {"$defs": {"b": {"type": "string", "x-mcp-header": "A"}}}}, "no property is that can be told"),
    ],
)
def test_a_mark_that_no_client_may_follow_is_told(properties: Any, reason: str) -> None:
    assert reason in invalid_mark(msgspec.json.encode({"name": "t", "inputSchema": {"properties": properties}}))


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"type": "string", "x-mcp-header": "Region"}, "b": {"type": "string", "x-mcp-header": "Zone"}},
        {"x-mcp-header": {"type": "string"}},
        {"a": {"type": "object", "default": {"x-mcp-header": ""}, "examples": [{"x-mcp-header": ""}]}},
        {"a": {"type": "string", "description": "not x-mcp-header"}},
    ],
)
def test_marks_that_fit_and_what_only_looks_like_one_are_no_problem(properties: Any) -> None:
    assert invalid_mark(msgspec.json.encode({"name": "t", "inputSchema": {"properties": properties}})) == ""


def test_one_invalid_mark_takes_the_others_with_it() -> None:
    good = {"type": "string", "x-mcp-header": "A"}
    assert marked(a=good, b={"type": "number", "x-mcp-header": "B"}).paths == {}
