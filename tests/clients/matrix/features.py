"""What each client is to see of the everything-server, content and all."""

from collections.abc import Callable, Mapping
from typing import Any

type Check = Callable[[Any, str], bool]
"""Whether a value that a client saw is right, where names have this prefix."""

_WEATHER = {"city": "Oslo", "celsius": 4.5, "wind": {"from": "north", "knots": 12}}


def _is(expected: object) -> Check:
    return lambda seen, _: seen == expected


def _has(*names: str) -> Check:
    return lambda seen, prefix: {prefix + name for name in names} <= set(seen)


FEATURES: Mapping[str, Check] = {
    "revision": lambda seen, _: seen in {"2025-11-25", "2026-07-28"},
    "tools": _has("test_simple_text", "structured_weather", "show_request"),
    "resources": lambda seen, _: {"static text", "static binary", "watched"} <= set(seen),
    "prompts": _has("test_simple_prompt", "test_prompt_with_arguments"),
    "call": _is("This is a simple text response for testing."),
    "structured": _is(_WEATHER),
    "read": _is("This is the content of the static text resource."),
    "prompt": _is("Prompt with arguments: arg1='one', arg2='two'"),
    "complete": _is(["paris", "park", "party"]),
    "progress": _is([0, 50, 100]),
    "elicitation": _is("Hello, Ada!"),
    "sampling": _is("Paris"),
    "list_changed": _is(True),
}
"""By name, in the order in which programs look."""
