"""From the plugin file to plugins: which kinds there are, and one instance per entry that is not disabled."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from interlock_plugins.builtin.deny_list import DenyListConfig, DenyListPlugin
from interlock_plugins.builtin.secrets_detection import SecretsDetectionConfig, SecretsDetectionPlugin
from interlock_plugins.conditions import Conditions
from interlock_plugins.errors import PatternRefused, PluginFileRefused
from interlock_plugins.plugin import Plugin
from interlock_plugins.plugin_file import PluginEntry, PluginFile

type Maker = Callable[[dict[str, Any]], Plugin]


def _deny_list(config: dict[str, Any]) -> Plugin:
    return DenyListPlugin(msgspec.convert(config, DenyListConfig))


def _secrets_detection(config: dict[str, Any]) -> Plugin:
    return SecretsDetectionPlugin(msgspec.convert(config, SecretsDetectionConfig))


KINDS: dict[str, Maker] = {
    "interlock_plugins.builtin.deny_list.DenyListPlugin": _deny_list,
    "plugins.deny_filter.deny.DenyListPlugin": _deny_list,
    "interlock_plugins.builtin.secrets_detection.SecretsDetectionPlugin": _secrets_detection,
    "plugins.secrets_detection.secrets_detection.SecretsDetectionPlugin": _secrets_detection,
}
"""Kinds by the class path that a plugin file names; the paths of ContextForge mean our own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry with its plugin and its conditions, ready to run."""

    entry: PluginEntry
    plugin: Plugin
    conditions: Conditions


def load(file: PluginFile) -> tuple[Loaded, ...]:
    """The plugins of the file that are not disabled, in the order they run: by priority, then as in the file."""
    enabled = [entry for entry in file.plugins if entry.mode != "disabled"]
    return tuple(_load(entry) for entry in sorted(enabled, key=lambda entry: entry.priority))


def _load(entry: PluginEntry) -> Loaded:
    maker = KINDS.get(entry.kind)
    if maker is None:
        raise PluginFileRefused(f"plugin {entry.name}: kind {entry.kind} is not known; known are {', '.join(KINDS)}")
    try:
        return Loaded(entry, maker(entry.config or {}), Conditions(entry.conditions))
    except (PluginFileRefused, PatternRefused) as error:
        raise PluginFileRefused(f"plugin {entry.name}: {error.detail}") from None
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        key = "config" + place.strip("`").removeprefix("$")
        raise PluginFileRefused(f"plugin {entry.name}: {key}: {reason[:1].lower()}{reason[1:]}") from None
