"""The chains of a plugin file: one per hook, what the edges must know of them, and what is listed."""

from interlock_common.clock import Clock
from interlock_common.messages.plugins import (
    HOOKS,
    Binding,
    Hook,
    HookCall,
    HookVerdict,
    PluginList,
    PluginSummary,
)
from interlock_plugins.breaker import Breaker
from interlock_plugins.chain import Chain, Link
from interlock_plugins.plugin_file import PluginFile
from interlock_plugins.registry import load


class Chains:
    """Everything a plugin file says, ready to run."""

    def __init__(self, file: PluginFile, *, max_payload: int, clock: Clock) -> None:
        """Raises PluginFileRefused, naming the plugin and the key, where an entry cannot be run."""
        settings = file.plugin_settings
        links = [Link(loaded, Breaker(clock), fail_on_error=settings.fail_on_plugin_error) for loaded in load(file)]
        self._file = file
        self._links: dict[Hook, tuple[Link, ...]] = {
            hook: tuple(link for link in links if hook in link.loaded.entry.hooks) for hook in HOOKS
        }
        self._chains = {
            hook: Chain(bound, plugin_timeout=settings.plugin_timeout, max_payload=max_payload, clock=clock)
            for hook, bound in self._links.items()
        }

    async def run(self, call: HookCall) -> HookVerdict:
        return await self._chains[call.hook].run(call)

    def bindings(self) -> dict[Hook, Binding | None]:
        """For each hook what the edges must do, or None where no plugin is bound to it."""
        return {hook: self._binding(hook, links) for hook, links in self._links.items()}

    def listing(self) -> PluginList:
        """Every plugin of the file, also the disabled ones."""
        return PluginList(tuple(
            PluginSummary(entry.name, entry.kind, entry.mode, tuple(entry.hooks), entry.priority, entry.description,
                          entry.version)
            for entry in self._file.plugins
        ))  # fmt: skip

    def _binding(self, hook: Hook, links: tuple[Link, ...]) -> Binding | None:
        if not links:
            return None
        tools = [link.loaded.conditions.tools for link in links]
        return Binding(
            hook,
            plugins=tuple(link.name for link in links),
            tools=tuple(sorted(frozenset[str]().union(*tools))) if all(tools) else (),
            on_failure="deny" if any(link.denies_on_failure for link in links) else "continue",
            timeout=self._file.plugin_settings.plugin_timeout,
        )
