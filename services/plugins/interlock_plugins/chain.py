"""One hook call: every plugin bound to the hook, by priority, each on what the one before it left."""

import asyncio
from dataclasses import dataclass

import msgspec
import structlog

from interlock_common.clock import Clock
from interlock_common.messages.plugins import HookCall, HookContext, HookVerdict, PluginVerdict
from interlock_plugins.breaker import Breaker
from interlock_plugins.document import Document
from interlock_plugins.plugin import Continue, Deny, Outcome, Replace
from interlock_plugins.registry import Loaded

INLINE_BYTES = 64 * 1024
"""Up to this size a linear plugin runs on the event loop: a thread would cost more than the work."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Failed:
    """A plugin that gave no outcome; ``code`` is ``plugin_failed`` or ``plugin_timeout``."""

    code: str
    detail: str


class Link:
    """One plugin in a chain, with its breaker, which all chains share."""

    def __init__(self, loaded: Loaded, breaker: Breaker, *, fail_on_error: bool) -> None:
        self.loaded = loaded
        self.name = loaded.entry.name
        self.breaker = breaker
        mode = loaded.entry.mode
        self.denies_on_violation = mode in ("enforce", "enforce_ignore_error")
        self.denies_on_failure = mode == "enforce" or (fail_on_error and mode != "audit")
        self.may_replace = mode != "audit"


class Chain:
    """The plugins bound to one hook, in the order they run."""

    def __init__(self, links: tuple[Link, ...], *, plugin_timeout: float, max_payload: int, clock: Clock) -> None:
        self._links = links
        self._plugin_timeout = plugin_timeout
        self._max_payload = max_payload
        self._clock = clock

    async def run(self, call: HookCall) -> HookVerdict:
        """The verdict of the whole chain, within the call's deadline; one denial ends it."""
        raw = bytes(call.payload)
        links = [link for link in self._links if link.loaded.conditions.hold(call.context)]
        if len(raw) > self._max_payload:
            return self._too_large(links, len(raw))
        deadline = self._clock.monotonic() + call.deadline
        document = Document(raw)
        verdicts: list[PluginVerdict] = []
        for link in links:
            outcome = await self._outcome(link, call, document, deadline)
            verdict, denial = _judge(link, outcome)
            verdicts.append(verdict)
            if denial is not None:
                return msgspec.structs.replace(denial, verdicts=tuple(verdicts))
            if isinstance(outcome, Replace) and link.may_replace:
                document = Document(outcome.payload)
        if document.raw == raw:
            return HookVerdict("continue", verdicts=tuple(verdicts))
        return HookVerdict("replace", payload=msgspec.Raw(document.raw), verdicts=tuple(verdicts))

    def _too_large(self, links: list[Link], size: int) -> HookVerdict:
        """What nobody inspected is denied, unless every plugin only watches."""
        reason = f"the payload has {size} bytes, more than the {self._max_payload} that plugins inspect"
        verdicts = tuple(PluginVerdict(link.name, "failed", "payload_too_large") for link in links)
        if any(link.denies_on_violation or link.denies_on_failure for link in links):
            return HookVerdict("deny", code="payload_too_large", reason=reason, verdicts=verdicts)
        return HookVerdict("continue", verdicts=verdicts)

    async def _outcome(self, link: Link, call: HookCall, document: Document, deadline: float) -> Outcome | Failed:
        if link.breaker.is_open():
            return Failed("plugin_failed", "left out after repeated failures")
        left = min(self._plugin_timeout, deadline - self._clock.monotonic())
        if left <= 0:
            return Failed("plugin_timeout", "no time was left for it")  # says nothing about this plugin's health
        try:
            outcome = await _check(link, call, document, left)
        except TimeoutError:
            link.breaker.failed()
            return Failed("plugin_timeout", f"no verdict within {left:.3g} s")
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its failure, decided by its mode
            link.breaker.failed()
            _log.warning("plugin failed", plugin=link.name, hook=call.hook, error=type(error).__name__)
            return Failed("plugin_failed", type(error).__name__)
        link.breaker.succeeded()
        return outcome


async def _check(link: Link, call: HookCall, document: Document, seconds: float) -> Outcome:
    plugin = link.loaded.plugin
    context: HookContext = call.context
    if plugin.linear and len(document.raw) <= INLINE_BYTES:
        return plugin.check(call.hook, document, context)
    async with asyncio.timeout(seconds):
        return await asyncio.to_thread(plugin.check, call.hook, document, context)


def _judge(link: Link, outcome: Outcome | Failed) -> tuple[PluginVerdict, HookVerdict | None]:
    """What the outcome means in the plugin's mode: the line for the record, and the denial if it is one."""
    denial = None
    match outcome:
        case Continue():
            verdict = PluginVerdict(link.name, "continue")
        case Replace() if link.may_replace:
            verdict = PluginVerdict(link.name, "replace", outcome.detail)
        case Replace():
            verdict = PluginVerdict(link.name, "continue", f"would replace: {outcome.detail}")
        case Deny():
            action = "deny" if link.denies_on_violation else "would_deny"
            verdict = PluginVerdict(link.name, action, f"{outcome.code}: {outcome.detail or outcome.reason}")
            if link.denies_on_violation:
                denial = HookVerdict("deny", code=outcome.code, reason=outcome.reason, plugin=link.name)
        case Failed():
            verdict = PluginVerdict(link.name, "failed", f"{outcome.code}: {outcome.detail}")
            if link.denies_on_failure:
                reason = f"plugin {link.name} gave no verdict, and its mode demands one"
                denial = HookVerdict("deny", code=outcome.code, reason=reason, plugin=link.name)
    return verdict, denial
