import json
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import RestCall
from interlock_gateway.upstreams.rest.request import (
    FORBIDDEN_HEADERS,
    ArgumentRefused,
    CallInvalid,
    HttpRequest,
    build,
    check_call,
)

BASE = "https://api.example.com/v1"


def request(call: RestCall, *, base: str = BASE, **arguments: Any) -> HttpRequest:
    return build(base, call, {name: msgspec.Raw(json.dumps(value).encode()) for name, value in arguments.items()})


def address(path: str, **arguments: Any) -> str:
    return str(request(RestCall("GET", path), **arguments).url)


@pytest.mark.parametrize(
    ("path", "arguments", "expected"),
    [
        ("/cities/{city}", {"city": "Oslo"}, "/v1/cities/Oslo"),
        ("cities/{city}", {"city": "São Paulo"}, "/v1/cities/S%C3%A3o%20Paulo"),
        ("/cities/{city}", {"city": "a/b?c#d;e=f@g:h"}, "/v1/cities/a%2Fb%3Fc%23d%3Be%3Df%40g%3Ah"),
        ("/cities/{city}", {"city": "100%"}, "/v1/cities/100%25"),
        ("/at/{lat},{lon}", {"lat": 59.91, "lon": -10}, "/v1/at/59.91,-10"),
        ("/many/{ids}", {"ids": [1, "b c", True]}, "/v1/many/1,b%20c,true"),
        ("/x/{a}.json", {"a": ".hidden"}, "/v1/x/.hidden.json"),
        ("", {}, "/v1"),
        ("/", {}, "/v1/"),
        ("?units=metric", {}, "/v1?units=metric"),
        ("/x?format=json&q={q}", {"q": "a&b=c"}, "/v1/x?format=json&q=a%26b%3Dc"),
    ],
)
def test_arguments_are_expanded_into_the_path(path: str, arguments: dict[str, Any], expected: str) -> None:
    assert address(path, **arguments) == f"https://api.example.com{expected}"


@pytest.mark.parametrize(
    "value", [".", "..", "", [], ["", ""][:1], None, "a/..", "../b", "a/../b", "..\\b", "..;x", "./", "\x00", "a\nb"]
)
def test_a_value_that_would_be_another_path_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentRefused):
        address("/files/{name}/content", name=value)


def test_two_values_cannot_make_dots_together() -> None:
    with pytest.raises(ArgumentRefused):
        address("/files/{a}{b}", a=".", b=".")


def test_an_argument_of_the_path_must_be_given() -> None:
    with pytest.raises(ArgumentRefused, match="name is part of the address"):
        address("/files/{name}")


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_leaves_its_place_in_the_path(one: str, two: str) -> None:
    try:
        url = request(RestCall("GET", "/a/{one}/b-{two}/c", query={"q": "one"}), one=one, two=two).url
    except ArgumentRefused:
        return
    assert (url.scheme, url.host, url.port, url.user, url.fragment) == ("https", "api.example.com", 443, None, "")
    root, v1, a, first, second, c = url.raw_path.split("/")
    assert (root, v1, a, c) == ("", "v1", "a", "c")
    assert unquote(first, errors="strict") == one
    assert unquote(second, errors="strict") == f"b-{two}"
    name, _, value = url.raw_query_string.partition("=")
    assert (name, unquote(value)) == ("q", one)
    assert not set(url.raw_query_string) & set("&#/? +")
    decoded = unquote(url.raw_path).replace("\\", "/").split("/")
    assert not {".", ".."} & set(decoded)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
)
def test_whatever_the_value_the_origin_stays(value: Any) -> None:
    call = RestCall("POST", "/{v}/end", query={"v": "v"}, headers={"X-V": "v"}, body={"v": "v"})
    try:
        made = request(call, v=value)
    except InvalidInput:
        return
    assert str(made.url).startswith(f"{BASE}/")
    assert made.url.raw_path.count("/") == 3
    assert made.headers["X-V"].isprintable()
    assert "\n" not in made.headers["X-V"]


def test_a_query_takes_what_is_given() -> None:
    call = RestCall("GET", "/search", query={"q": "text", "tag[]": "tags", "page": "page", "where": "where"})
    made = request(call, text="a b&c", tags=["x", "y=z"], page=None, where={"a": 1}, unknown="u")
    assert str(made.url) == (
        "https://api.example.com/v1/search?q=a%20b%26c&tag%5B%5D=x&tag%5B%5D=y%3Dz&where=%7B%22a%22%3A%201%7D"
    )


def test_the_query_of_the_upstream_stays() -> None:
    made = request(RestCall("GET", "/now", query={"q": "q"}), base="https://api.example.com/?key=k%26", q="x")
    assert str(made.url) == "https://api.example.com/now?key=k%26&q=x"


def test_an_address_is_bounded() -> None:
    with pytest.raises(ArgumentRefused, match="more than 8192 characters"):
        address("/x/{v}", v="x" * 9000)


def test_headers_carry_arguments() -> None:
    made = request(
        RestCall("GET", "/", headers={"X-Lang": "lang", "X-Ids": "ids", "X-No": "no"}), lang="nb", ids=[1, 2]
    )
    assert made.headers == {"X-Lang": "nb", "X-Ids": "1, 2"}


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x00", "é", " a", "a ", "", "x" * 9000, "\x7f"])
def test_a_header_is_one_line_of_ascii(value: str) -> None:
    with pytest.raises(ArgumentRefused, match="lang is sent in a header"):
        request(RestCall("GET", "/", headers={"X-Lang": "lang"}), lang=value)


@pytest.mark.parametrize("name", [*sorted(FORBIDDEN_HEADERS), "Host", "COOKIE", "a b", "", "x:y", "x\n", "é"])
def test_headers_of_the_message_are_not_for_arguments(name: str) -> None:
    call = RestCall("GET", "/", headers={name: "v"})
    with pytest.raises(CallInvalid):
        request(call, v="x")
    with pytest.raises(CallInvalid):
        check_call(call, ["v"])


def test_arguments_that_are_used_nowhere_else_are_the_body() -> None:
    call = RestCall("POST", "/notes/{id}", query={"dry": "dry"})
    made = build(BASE, call, {name: msgspec.Raw(value) for name, value in {
        "id": b"7", "dry": b"true", "price": b"1.10", "big": b"123456789012345678901234567890", "none": b"null",
    }.items()})  # fmt: skip
    assert made.body == b'{"price":1.10,"big":123456789012345678901234567890,"none":null}'
    assert made.headers == {"Content-Type": "application/json"}


def test_a_method_without_body_sends_none() -> None:
    for method in ("GET", "DELETE"):
        assert request(RestCall(method, "/x"), a=1).body is None
    assert request(RestCall("POST", "/x")).body is None
    assert request(RestCall("POST", "/x", body={}), a=1).body is None


def test_a_body_is_made_of_what_is_mapped() -> None:
    call = RestCall("DELETE", "/x", body={"name": "n", "left_out": "gone"})
    assert request(call, n="a", other=1).body == b'{"name":"a"}'


def test_one_argument_can_be_the_whole_body() -> None:
    call = RestCall("PUT", "/x/{id}", body={"": "items"})
    assert request(call, id=1, items=[1, 2]).body == b"[1, 2]"
    assert request(call, id=1).body is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (RestCall("GET", "/{missing}"), "missing"),
        (RestCall("GET", "/x", query={"q": "missing"}), "missing"),
        (RestCall("GET", "/x/{+v}"), "without operators"),
        (RestCall("GET", "/x/{v"), "without operators"),
        (RestCall("GET", "/x/{}"), "without operators"),
        (RestCall("GET", "/x#y"), "no fragment"),
        (RestCall("GET", "/a/../b"), "no place in an address"),
        (RestCall("GET", "/a/%2e%2E/b"), "no place in an address"),
        (RestCall("GET", "/x\n"), "control characters"),
        (RestCall("GET", "/" + "x" * 3000), "at most 2048"),
        (RestCall("GET", "/x", body={"v": "v"}), "a GET request has no body"),
        (RestCall("POST", "/x", body={"": "v", "w": "v"}), "not both"),
        (RestCall("GET", "/x", result="$..v"), "RFC 9535"),
    ],
)
def test_a_call_that_can_never_work_is_refused_when_it_is_registered(call: RestCall, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_call(call, ["v"])


def test_a_good_call_passes() -> None:
    check_call(RestCall("POST", "/x/{v}?a=b", query={"q": "w"}, headers={"X-W": "w"}, body={"": "w"}), ["v", "w"])
