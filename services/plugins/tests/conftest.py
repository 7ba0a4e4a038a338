from collections.abc import Callable

import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.plugins import Hook, HookContext
from interlock_plugins.chains import Chains
from interlock_plugins.document import Document
from interlock_plugins.plugin import Outcome, Plugin
from interlock_plugins.plugin_file import parse_plugin_file

CONTEXT = HookContext("user@example.com", "send_mail", "up-1", "server-1", ("red",))
type Check = Callable[..., Outcome]


@pytest.fixture
def context() -> HookContext:
    return CONTEXT


@pytest.fixture
def check() -> Check:
    """Run one plugin on raw JSON."""

    def run(plugin: Plugin, raw: str | bytes, hook: Hook = "tool_post_invoke") -> Outcome:
        return plugin.check(hook, Document(raw.encode() if isinstance(raw, str) else raw), CONTEXT)

    return run


@pytest.fixture
def chains() -> Callable[[str], Chains]:
    """The chains that a plugin file in YAML makes."""

    def make(text: str) -> Chains:
        return Chains(parse_plugin_file(text, "test.yaml"), max_payload=1024, clock=SYSTEM_CLOCK)

    return make
