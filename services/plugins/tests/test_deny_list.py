import json
from typing import Any

import pytest

from interlock_plugins.builtin.deny_list import DenyListConfig, DenyListPlugin
from interlock_plugins.errors import PatternRefused, PluginFileRefused
from interlock_plugins.plugin import CONTINUE, Deny


def plugin(*words: str, **config: Any) -> DenyListPlugin:
    return DenyListPlugin(DenyListConfig(words=words, **config))


@pytest.mark.parametrize(
    "arguments",
    [{"q": "drop table users"}, {"q": ["a", {"deep": "DROP TABLE"}]}, {"q": 'x\n"drop table"'}, ["drop table"]],
)
def test_a_listed_word_denies_wherever_it_stands(arguments: Any, check: Any) -> None:
    outcome = check(plugin("drop table"), json.dumps(arguments), "tool_pre_invoke")
    assert isinstance(outcome, Deny)
    assert outcome.code == "DENY"
    assert "drop" not in outcome.reason.lower()


def test_escapes_hide_no_word(check: Any) -> None:
    assert isinstance(check(plugin("drop"), b'["dr\\u006fp"]'), Deny)


def test_words_are_literal_and_patterns_are_re2(check: Any) -> None:
    assert check(plugin("a.c"), '["abc"]') is CONTINUE
    assert isinstance(check(plugin(patterns=("a.c",)), '["abc"]'), Deny)
    with pytest.raises(PatternRefused, match=r"\(\?<=x\)"):
        plugin(patterns=("(?<=x)",))


def test_a_match_across_the_structure_denies_nothing(check: Any) -> None:
    assert check(plugin('","'), '["a","b"]') is CONTINUE


def test_names_of_members_count_only_when_asked_for(check: Any) -> None:
    assert check(plugin("password"), '{"password": "x"}') is CONTINUE
    assert isinstance(check(plugin("password", include_keys=True), '{"password": "x"}'), Deny)


def test_letter_case_counts_only_when_asked_for(check: Any) -> None:
    assert isinstance(check(plugin("ÉTÉ"), '["été"]'), Deny)
    assert check(plugin("ÉTÉ", case_sensitive=True), '["été"]') is CONTINUE


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(PluginFileRefused, match="both empty"):
        plugin()
