import json
import time
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_gateway.nesting import deeper_than

_JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\{}[]é\n', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\[', max_size=3), inner, max_size=3),
    max_leaves=20,
)  # fmt: skip


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, cast("dict[str, Any]", value).values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, cast("list[Any]", value)), default=0)
    return 0


@given(_JSON, st.integers(0, 6))
def test_depth_is_what_decoding_would_find(value: Any, levels: int) -> None:
    assert deeper_than(json.dumps(value).encode(), levels) == (depth(value) > levels)
    assert deeper_than(json.dumps(value, ensure_ascii=False, indent=1).encode(), levels) == (depth(value) > levels)


@pytest.mark.parametrize("unit", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_of_the_deepest_body_is_found_at_once(unit: tuple[bytes, bytes]) -> None:
    """An edge does nothing else meanwhile; 3.7 s were spent on four mebibytes of brackets once."""
    document = unit[0] * 700_000 + b"1" + unit[1] * 700_000
    began = time.process_time()
    assert deeper_than(document, 128)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_flat_values_have_no_depth_and_empty_ones_have(levels: int) -> None:
    assert not deeper_than(b'"[[["', levels)
    assert deeper_than(b"[]", levels) == (levels < 1)
    assert deeper_than(b"[{}, []]", levels) == (levels < 2)


@pytest.mark.parametrize("document", [b"[" * 2_000_000, b'{"a":' * 500_000, b"[" * 65 + b"]" * 65])
def test_depth_without_end_is_found_without_recursion(document: bytes) -> None:
    assert deeper_than(document, 64)
