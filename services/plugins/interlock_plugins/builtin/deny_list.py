"""Denies a call of whose arguments a string contains a listed word or matches a listed pattern."""

import msgspec

from interlock_common.messages.plugins import Hook, HookContext
from interlock_plugins.document import Document
from interlock_plugins.errors import PluginFileRefused
from interlock_plugins.patterns import Pattern, any_of, escape
from interlock_plugins.plugin import CONTINUE, Deny, Outcome


class DenyListConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``words`` are literal, ``patterns`` are RE2; the names of members are looked at with ``include_keys``."""

    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    case_sensitive: bool = False
    include_keys: bool = False


class DenyListPlugin:
    """One combined search rules clean payloads out; a hit is confirmed on the strings one by one."""

    linear = True

    def __init__(self, config: DenyListConfig) -> None:
        expressions = (*(escape(word) for word in config.words if word), *config.patterns)
        if not expressions:
            raise PluginFileRefused("config.words and config.patterns are both empty")
        for pattern in config.patterns:
            Pattern(pattern)  # a bad one is named by itself, not as a part of the combination
        self._any = any_of(expressions, case_sensitive=config.case_sensitive)
        self._include_keys = config.include_keys

    def check(self, hook: Hook, document: Document, context: HookContext) -> Outcome:
        del context
        if not self._any.found_in(document.searchable):
            return CONTINUE
        for string in document.strings():
            if (self._include_keys or not string.is_key) and self._any.found_in(string.text):
                where = "arguments" if hook == "tool_pre_invoke" else "result"
                return Deny("DENY", f"a string of the {where} is on the deny list")
        return CONTINUE
