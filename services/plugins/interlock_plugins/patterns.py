"""Regular expressions on RE2: they take time linear in the text, whatever the expression and the text are."""

from collections.abc import Iterable, Iterator
from typing import Any

import re2  # pyright: ignore[reportMissingTypeStubs] - google-re2 ships none; this module is its only user

from interlock_plugins.errors import PatternRefused

_re2: Any = re2


class Pattern:
    """A compiled expression over UTF-8 bytes; positions are byte offsets."""

    __slots__ = ("_compiled", "_group", "expression")

    def __init__(self, expression: str, *, case_sensitive: bool = True) -> None:
        """Raises PatternRefused where RE2 does not take it: it knows neither back-references nor look-around."""
        options = _re2.Options()
        options.case_sensitive = case_sensitive
        options.log_errors = False
        self.expression = expression
        try:
            self._compiled = _re2.compile(expression.encode(), options)
        except _re2.error as error:
            cause = error.args[0] if error.args else "not a regular expression"
            reason = cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)
            raise PatternRefused(f"pattern {expression!r} is refused by RE2: {reason}") from None
        self._group = 1 if self._compiled.groups else 0

    def found_in(self, text: bytes) -> bool:
        return self._compiled.search(text) is not None

    def spans(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where it matches: its first group where it has one that took part, else the whole match."""
        for match in self._compiled.finditer(text):
            start, end = match.span(self._group)
            yield (start, end) if start >= 0 else match.span(0)


def any_of(expressions: Iterable[str], *, case_sensitive: bool = True) -> Pattern:
    """One pattern that matches where any of the expressions does."""
    return Pattern("|".join(f"(?:{expression})" for expression in expressions), case_sensitive=case_sensitive)


def escape(words: str) -> str:
    """The expression that matches ``words`` literally."""
    return str(_re2.escape(words))
