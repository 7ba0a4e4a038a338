import time

import pytest

from interlock_plugins.errors import PatternRefused
from interlock_plugins.patterns import Pattern, any_of, escape


def test_an_expression_that_ruins_backtracking_engines_takes_linear_time() -> None:
    pattern = Pattern(r"(a+)+\z")
    started = time.perf_counter()
    assert not pattern.found_in(b"a" * 100_000 + b"b")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("expression", [r"(a)\1", r"(?=a)", "(", "[z-a]"])
def test_what_re2_does_not_take_is_refused_by_name(expression: str) -> None:
    with pytest.raises(PatternRefused, match="is refused by RE2"):
        Pattern(expression)


def test_spans_mark_the_first_group_where_there_is_one() -> None:
    text = "é key=abc".encode()
    assert [text[start:end] for start, end in Pattern("key=(.*)").spans(text)] == [b"abc"]
    assert [text[start:end] for start, end in Pattern("key=.*").spans(text)] == [b"key=abc"]


def test_combined_expressions_keep_their_own_flags() -> None:
    combined = any_of(["(?i:abc)", escape("x.y")])
    assert combined.found_in(b"ABC")
    assert combined.found_in(b"x.y")
    assert not combined.found_in(b"X.Y")
    assert not combined.found_in(b"xzy")
