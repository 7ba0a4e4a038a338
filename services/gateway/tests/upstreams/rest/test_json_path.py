import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_gateway.upstreams.rest.json_path import PathInvalid, parse, select

DOCUMENT = b'{"a": [1.0, 2e2, {"b c": true}], "": 0, "\\u00e9": "x", "it\'s": [], "q\\"": null}'


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("$.a[0]", b"1.0"),
        ("$['a'][1]", b"2e2"),
        ('$["a"][2]["b c"]', b"true"),
        ("$.a[-1]['b c']", b"true"),
        ("$['']", b"0"),
        ("$.é", b'"x"'),
        ("$['\\u00e9']", b'"x"'),
        ("$['it\\'s']", b"[]"),
        ("$['q\"']", b"null"),
        ('$["q\\""]', b"null"),
        ("$ [ 'a' ] [ 0 ]", b"1.0"),
        ("$.a[3]", None),
        ("$.a[-4]", None),
        ("$.a.b", None),
        ("$[0]", None),
        ("$.nothing", None),
        ("$.a[0].x", None),
    ],
)
def test_a_path_selects_the_bytes_that_stand_there(path: str, value: bytes | None) -> None:
    assert select(DOCUMENT, parse(path)) == value


@pytest.mark.parametrize(
    "path",
    [
        "", "a", "$.", "$..a", "$.*", "$[*]", "$[0:1]", "$[0,1]", "$[?@.a]", "$[01]", "$[-0]", "$[a]", "$['a", "$.1a",
        "$['\\x']", "$['\\ud800']", "$[9007199254740992]", "$ ", "$.a ", "$" + ".a" * 600, "$['\n']",
        "$.a[" + "9" * 500,
    ],
)  # fmt: skip
def test_what_is_not_singular_is_no_path(path: str) -> None:
    with pytest.raises(PathInvalid):
        parse(path)


@given(st.text(max_size=12), st.integers(0, 5))
def test_any_name_can_be_written_in_quotes(name: str, index: int) -> None:
    document: Any = {name: list(range(6))}
    path = parse(f"$[{json.dumps(name)}][{index}]")
    assert select(json.dumps(document).encode(), path) == str(index).encode()


@given(st.text(max_size=30))
def test_a_text_is_a_path_or_refused(text: str) -> None:
    with suppress(PathInvalid):
        select(DOCUMENT, parse(f"${text}"))
