"""Reads the plugin file: the YAML form of the 1.0 line of ContextForge, checked strictly."""

from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast, get_args

import msgspec
import yaml

from interlock_plugins.conditions import Condition
from interlock_plugins.errors import PluginFileRefused

AnyHook = Literal[
    "prompt_pre_fetch", "prompt_post_fetch", "tool_pre_invoke", "tool_post_invoke", "resource_pre_fetch",
    "resource_post_fetch", "agent_pre_invoke", "agent_post_invoke", "http_pre_request", "http_post_request",
    "http_auth_resolve_user", "http_auth_check_permission",
]  # fmt: skip
"""Every hook a file may name; those of tools run today."""

Mode = Literal["enforce", "enforce_ignore_error", "permissive", "audit", "disabled"]
_MAX_FILE_BYTES = 4 * 1024 * 1024


class PluginEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry under ``plugins``; lower ``priority`` runs first."""

    name: str
    kind: str
    description: str = ""
    author: str = ""
    version: str = ""
    hooks: tuple[AnyHook, ...] = ()
    tags: tuple[str, ...] = ()
    mode: Mode = "enforce"
    priority: int = 100
    conditions: tuple[Condition, ...] = ()
    config: dict[str, Any] | None = None
    mcp: dict[str, Any] | None = None


class PluginSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``plugin_settings``: seconds for one plugin, and whether failures deny beyond what modes say.

    The other keys of the form are taken and have no effect yet.
    """

    plugin_timeout: float = 30.0
    fail_on_plugin_error: bool = False
    parallel_execution_within_band: bool = True
    enable_plugin_api: bool = False
    plugin_health_check_interval: float = 60.0
    include_user_info: bool = False


class PluginFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plugins: tuple[PluginEntry, ...] = ()
    plugin_settings: PluginSettings = PluginSettings()
    plugin_dirs: tuple[str, ...] = ()
    server_settings: dict[str, Any] | None = None


def read_plugin_file(path: Path | None) -> PluginFile:
    """The file at ``path``, or the one that comes with the package; errors name the file, the plugin and the key."""
    if path is None:
        packaged = resources.files("interlock_plugins") / "default.yaml"
        return parse_plugin_file(packaged.read_text(encoding="utf-8"), "the packaged default.yaml")
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PluginFileRefused(f"PLUGINS_CONFIG_PATH {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PluginFileRefused(f"PLUGINS_CONFIG_PATH {path} is not UTF-8") from None
    if len(text) > _MAX_FILE_BYTES:
        raise PluginFileRefused(f"PLUGINS_CONFIG_PATH {path} is over {_MAX_FILE_BYTES} characters")
    return parse_plugin_file(text, str(path))


def parse_plugin_file(text: str, origin: str) -> PluginFile:
    try:
        loaded: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PluginFileRefused(f"{origin} is not YAML: {_where(error)}") from None
    if not isinstance(loaded, dict | None):
        raise PluginFileRefused(f"{origin} must be a mapping with the key plugins")
    content = cast("dict[str, Any]", loaded or {})
    entries: Any = content.pop("plugins", None) or []
    if not isinstance(entries, list):
        raise PluginFileRefused(f"{origin}: plugins must be a list")
    top = _convert({key: value for key, value in content.items() if value is not None}, PluginFile, origin)
    plugins = tuple(_entry(item, number, origin) for number, item in enumerate(cast("list[Any]", entries)))
    _require_unique(plugins, origin)
    return msgspec.structs.replace(top, plugins=plugins)


def _entry(item: Any, number: int, origin: str) -> PluginEntry:
    if not isinstance(item, dict):
        raise PluginFileRefused(f"{origin}: plugins[{number}] must be a mapping")
    fields = {key: value for key, value in cast("dict[str, Any]", item).items() if value is not None}
    name = fields.get("name", f"number {number}")
    conditions: Any = fields.get("conditions")
    if isinstance(conditions, list):  # "conditions: [{tools: }]" leaves None where nothing is asked for
        fields["conditions"] = [_without_none(block) for block in cast("list[Any]", conditions)]
    return _convert(fields, PluginEntry, f"{origin}: plugin {name}")


def _without_none(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    return {key: value for key, value in cast("dict[str, Any]", block).items() if value is not None}


def _convert[T](value: Any, kind: type[T], origin: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        key = place.strip("`").removeprefix("$.").removeprefix("$")
        hint = _hint(key)
        raise PluginFileRefused(f"{origin}: {key + ': ' if key else ''}{_lower(reason)}{hint}") from None


def _hint(key: str) -> str:
    if key == "mode":
        return f"; known are {', '.join(get_args(Mode))}"
    return f"; known are {', '.join(get_args(AnyHook))}" if key.startswith("hooks") else ""


def _require_unique(plugins: tuple[PluginEntry, ...], origin: str) -> None:
    seen: set[str] = set()
    for plugin in plugins:
        if plugin.name in seen:
            raise PluginFileRefused(f"{origin}: plugin {plugin.name} is there twice")
        seen.add(plugin.name)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be parsed"
    return f"{problem} in line {mark.line + 1}" if mark is not None else str(problem)


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
