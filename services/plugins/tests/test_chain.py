import threading
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import ConfigurationError
from interlock_common.messages.plugins import HOOKS, Binding, Hook, HookCall, HookContext
from interlock_plugins.breaker import COOLDOWN, FAILURES, Breaker
from interlock_plugins.chain import Chain, Link
from interlock_plugins.conditions import Condition, Conditions
from interlock_plugins.document import Document
from interlock_plugins.plugin import CONTINUE, Deny, Outcome, Plugin, Replace
from interlock_plugins.plugin_file import Mode, PluginEntry
from interlock_plugins.registry import Loaded

CONTEXT = HookContext("user@example.com", "send_mail", "up-1", "server-1", ("red",))
TOKEN = "ghp_" + "a1B2" * 9


class Scripted:
    """A plugin that answers what it is told to, and remembers what it saw."""

    linear = True

    def __init__(self, outcome: Outcome | Exception) -> None:
        self.outcome = outcome
        self.saw: list[bytes] = []

    def check(self, hook: Hook, document: Document, context: HookContext) -> Outcome:
        del hook, context
        self.saw.append(document.raw)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Hanging:
    """A plugin that does not come back before it is released."""

    linear = False

    def __init__(self) -> None:
        self.released = threading.Event()

    def check(self, hook: Hook, document: Document, context: HookContext) -> Outcome:
        del hook, document, context
        self.released.wait(30)
        return CONTINUE


@pytest.fixture
async def hanging() -> AsyncGenerator[Hanging]:
    plugin = Hanging()
    yield plugin
    plugin.released.set()


def link(plugin: Plugin, mode: Mode = "enforce", *, fail_on_error: bool = False, name: str = "p") -> Link:
    entry = PluginEntry(name=name, kind="k", mode=mode)
    return Link(Loaded(entry, plugin, Conditions(())), Breaker(SYSTEM_CLOCK), fail_on_error=fail_on_error)


def chain(*links: Link, timeout: float = 30.0) -> Chain:
    return Chain(links, plugin_timeout=timeout, max_payload=1024, clock=SYSTEM_CLOCK)


def call(payload: bytes = b'{ "a" :1.0}', deadline: float = 30.0) -> HookCall:
    return HookCall("tool_pre_invoke", CONTEXT, msgspec.Raw(payload), deadline)


async def test_a_clean_payload_continues_without_a_copy() -> None:
    verdict = await chain(link(Scripted(CONTINUE))).run(call())
    assert (verdict.action, verdict.payload) == ("continue", msgspec.UNSET)
    assert [line.action for line in verdict.verdicts] == ["continue"]


async def test_what_one_plugin_replaces_the_next_one_sees() -> None:
    second = Scripted(CONTINUE)
    verdict = await chain(link(Scripted(Replace(b"[2]", "why"))), link(second)).run(call())
    assert second.saw == [b"[2]"]
    assert isinstance(verdict.payload, msgspec.Raw)
    assert bytes(verdict.payload) == b"[2]"
    assert [(line.action, line.detail) for line in verdict.verdicts] == [("replace", "why"), ("continue", "")]


async def test_a_denial_ends_the_chain() -> None:
    second = Scripted(CONTINUE)
    verdict = await chain(link(Scripted(Deny("NO", "because", "detail")), name="first"), link(second)).run(call())
    assert (verdict.action, verdict.code, verdict.reason, verdict.plugin) == ("deny", "NO", "because", "first")
    assert second.saw == []


@pytest.mark.parametrize(
    ("mode", "on_violation", "on_failure", "on_replace"),
    [
        ("enforce", "deny", "deny", "replace"),
        ("enforce_ignore_error", "deny", "continue", "replace"),
        ("permissive", "continue", "continue", "replace"),
        ("audit", "continue", "continue", "continue"),
    ],
)
async def test_the_mode_decides(mode: Mode, on_violation: str, on_failure: str, on_replace: str) -> None:
    violation = await chain(link(Scripted(Deny("NO", "because")), mode)).run(call())
    failure = await chain(link(Scripted(ValueError("secret text")), mode)).run(call())
    replacement = await chain(link(Scripted(Replace(b"[2]")), mode)).run(call())
    assert (violation.action, failure.action, replacement.action) == (on_violation, on_failure, on_replace)
    assert violation.verdicts[0].action == ("deny" if on_violation == "deny" else "would_deny")
    assert failure.verdicts[0].action == "failed"
    assert "secret text" not in str(failure)
    if on_failure == "deny":
        assert failure.code == "plugin_failed"


async def test_failures_can_be_made_to_deny_in_every_mode_but_audit() -> None:
    failing = Scripted(ValueError())
    assert (await chain(link(failing, "permissive", fail_on_error=True)).run(call())).action == "deny"
    assert (await chain(link(failing, "audit", fail_on_error=True)).run(call())).action == "continue"


async def test_a_plugin_that_hangs_is_given_up_at_the_deadline(hanging: Hanging) -> None:
    verdict = await chain(link(hanging)).run(call(deadline=0.05))
    assert (verdict.action, verdict.code, verdict.plugin) == ("deny", "plugin_timeout", "p")


async def test_a_plugin_that_hangs_is_given_up_at_its_own_timeout(hanging: Hanging) -> None:
    after = Scripted(CONTINUE)
    verdict = await chain(link(hanging, "permissive"), link(after), timeout=0.05).run(call())
    assert verdict.action == "continue"
    assert len(after.saw) == 1


async def test_without_time_left_what_enforces_denies(hanging: Hanging) -> None:
    after = Scripted(CONTINUE)
    verdict = await chain(link(hanging, "permissive"), link(after)).run(call(deadline=0.05))
    assert (verdict.action, verdict.code) == ("deny", "plugin_timeout")
    assert after.saw == []


async def test_a_payload_over_the_bound_is_denied_unseen() -> None:
    plugin = Scripted(CONTINUE)
    verdict = await chain(link(plugin)).run(call(b'["' + b"x" * 1024 + b'"]'))
    assert (verdict.action, verdict.code) == ("deny", "payload_too_large")
    assert plugin.saw == []


async def test_who_only_watches_denies_no_payload_for_its_size() -> None:
    verdict = await chain(link(Scripted(CONTINUE), "audit")).run(call(b'["' + b"x" * 1024 + b'"]'))
    assert (verdict.action, verdict.verdicts[0].detail) == ("continue", "payload_too_large")


async def test_a_plugin_that_keeps_failing_is_left_out() -> None:
    plugin = Scripted(ValueError())
    bound = chain(link(plugin, "permissive"))
    for _ in range(FAILURES + 3):
        await bound.run(call())
    verdict = await bound.run(call())
    assert len(plugin.saw) == FAILURES
    assert verdict.verdicts[0].detail == "plugin_failed: left out after repeated failures"


def test_an_open_breaker_lets_one_trial_through_after_the_cooldown() -> None:
    class Clock:
        at = 0.0

        def monotonic(self) -> float:
            return self.at

    clock: Any = Clock()
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert not breaker.is_open()
        breaker.failed()
    assert breaker.is_open()
    clock.at += COOLDOWN
    assert not breaker.is_open()
    assert breaker.is_open()
    breaker.succeeded()
    assert not breaker.is_open()


@pytest.mark.parametrize(
    ("blocks", "holds"),
    [
        ((), True),
        ((Condition(),), True),
        ((Condition(tools=("other", "send_mail")),), True),
        ((Condition(tools=("other",)),), False),
        ((Condition(tools=("send_mail",), server_ids=("server-2",)),), False),
        ((Condition(tools=("other",)), Condition(server_ids=("server-1",))), True),
        ((Condition(tenant_ids=("blue", "red")),), True),
        ((Condition(tenant_ids=("blue",)),), False),
        ((Condition(user_patterns=("^nobody", r"@example\.com$")),), True),
        ((Condition(user_patterns=("^nobody",)),), False),
        ((Condition(prompts=("x",), resources=("y",)),), True),
    ],
)
def test_conditions_are_and_across_and_or_inside(blocks: tuple[Condition, ...], holds: bool) -> None:
    assert Conditions(blocks).hold(CONTEXT) is holds


FILE = """
plugins:
  - {name: Late, kind: plugins.deny_filter.deny.DenyListPlugin, hooks: [tool_pre_invoke], priority: 20,
     mode: permissive, conditions: [{tools: [b, a]}], config: {words: [x]}}
  - {name: Early, kind: plugins.deny_filter.deny.DenyListPlugin, hooks: [tool_pre_invoke, prompt_pre_fetch],
     priority: 10, conditions: [{tools: [c]}], config: {words: [y]}}
  - {name: Retired, kind: some.unknown.Kind, hooks: [tool_post_invoke], mode: disabled}
plugin_settings: {plugin_timeout: 5}
"""


def test_bindings_tell_the_edges_when_to_ask(chains: Any) -> None:
    bindings = chains(FILE).bindings()
    assert set(bindings) == set(HOOKS)
    assert bindings["tool_pre_invoke"] == Binding("tool_pre_invoke", ("Early", "Late"), ("a", "b", "c"), "deny", 5)
    assert bindings["tool_post_invoke"] is None


def test_a_hook_is_for_all_tools_as_soon_as_one_plugin_is(chains: Any) -> None:
    bindings = chains(FILE.replace("conditions: [{tools: [c]}], ", "")).bindings()
    assert bindings["tool_pre_invoke"].tools == ()


def test_every_plugin_is_listed_also_disabled_ones(chains: Any) -> None:
    assert [(plugin.name, plugin.mode) for plugin in chains(FILE).listing().plugins] == [
        ("Late", "permissive"), ("Early", "enforce"), ("Retired", "disabled"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("plugins: [{name: A, kind: x.Y}]", "plugin A: kind x.Y is not known"),
        (
            "plugins: [{name: A, kind: plugins.deny_filter.deny.DenyListPlugin, config: {word: [a]}}]",
            "plugin A: config: .*`word`",
        ),
        (
            "plugins: [{name: A, kind: plugins.deny_filter.deny.DenyListPlugin, config: {words: 1}}]",
            r"plugin A: config\.words",
        ),
        (
            "plugins: [{name: A, kind: plugins.deny_filter.deny.DenyListPlugin, config: {patterns: ['(']}}]",
            "plugin A: pattern",
        ),
    ],
)
def test_a_plugin_that_cannot_run_stops_the_start(text: str, complaint: str, chains: Any) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        chains(text)


async def test_a_whole_chain_redacts_a_result(chains: Any) -> None:
    text = """
plugins:
  - {name: S, kind: plugins.secrets_detection.secrets_detection.SecretsDetectionPlugin, hooks: [tool_post_invoke],
     config: {redact: true}}
"""
    payload = f'{{"content": [{{"type":"text","text":"key {TOKEN}"}}], "n": 1.0}}'.encode()
    verdict = await chains(text).run(HookCall("tool_post_invoke", CONTEXT, msgspec.Raw(payload), 5))
    assert verdict.action == "replace"
    assert bytes(verdict.payload) == payload.replace(TOKEN.encode(), b"[REDACTED]")


async def test_a_resource_is_inspected_by_its_uri(chains: Any) -> None:
    plugins = """
plugins:
  - {name: Early, kind: plugins.deny_filter.deny.DenyListPlugin, hooks: [resource_pre_fetch], config: {words: [secret]}}
"""
    call = HookCall("resource_pre_fetch", CONTEXT, msgspec.Raw(b'"file:///secret"'), 5)
    assert (await chains(plugins).run(call)).action == "deny"
    call = HookCall("resource_pre_fetch", CONTEXT, msgspec.Raw(b'"file:///plain"'), 5)
    assert (await chains(plugins).run(call)).action == "continue"
