import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from interlock_plugins.document import Document

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in cast("list[Any]", value) for text in _strings(item)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return [text for key, item in members for text in (key, *_strings(item))]
    return []


@given(_json, st.booleans(), st.sampled_from([None, 2]))
def test_every_string_is_seen_once_and_in_order(value: Any, ascii_only: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    document = Document(raw)
    texts = [string.text for string in document.strings()]
    assert texts == [text.encode("utf-8", "surrogatepass") for text in _strings(value)]
    assert all(text in document.searchable for text in texts)


@given(_json, st.booleans())
def test_rewriting_changes_the_chosen_strings_and_nothing_else(value: Any, ascii_only: bool) -> None:
    raw = json.dumps({"keep": value, "drop": ["gone"]}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    document = Document(raw)
    assert document.rewritten(lambda string: string.text) is raw
    changed = document.rewritten(lambda string: b'a "new" \xc3\xa9\n' if string.text == b"gone" else string.text)
    before, _, after = raw.rpartition(b'"gone"')
    assert changed == before + '"a \\"new\\" é\\n"'.encode() + after


def test_numbers_spacing_and_duplicate_members_keep_their_bytes() -> None:
    raw = b'{ "a": 1.50e+3,"a" :"x",  "b":12345678901234567890123, "c":"\\u00e9\\/" }'
    changed = Document(raw).rewritten(lambda string: b"y" if string.text == b"x" else string.text)
    assert changed == raw.replace(b'"x"', b'"y"')


def test_a_string_knows_whose_value_it_is() -> None:
    raw = b'{"a" : "1", "b": ["2", {"c":3}, "4"], "d": {"e": "5"}, "f": 6, "g": "7"}'
    members = {string.text: string.member for string in Document(raw).strings() if not string.is_key}
    assert members == {b"1": b"a", b"2": b"", b"4": b"", b"5": b"e", b"7": b"g"}


def test_a_lone_surrogate_stops_nobody() -> None:
    raw = b'["\\ud800 x", "y"]'
    assert Document(raw).rewritten(lambda string: string.text + b"!") == b'["\\ud800 x!", "y!"]'
