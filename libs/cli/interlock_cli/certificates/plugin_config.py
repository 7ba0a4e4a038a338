"""Which plugins are servers of their own: those of ``kind: external`` in a plugin file of the 1.0 line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import yaml

from interlock_cli.certificates.errors import FileUnusable, NameRefused, PluginConfigRefused
from interlock_cli.certificates.names import alternative_name, plugin_name
from interlock_cli.certificates.pem import read_file

DEFAULT_CONFIG = Path("plugins/external/config.yaml")


@dataclass(frozen=True)
class ExternalPlugin:
    """A plugin that is reached over the network, by the host of its ``mcp.url`` if it says one."""

    name: str
    host: str = ""


EXAMPLES = (ExternalPlugin("example-plugin-a"), ExternalPlugin("example-plugin-b"))


def external_plugins(path: Path) -> list[ExternalPlugin]:
    """The external plugins of a file, each name once. Raises PluginConfigRefused, FileUnusable."""
    found: dict[str, ExternalPlugin] = {}
    for number, entry in enumerate(_entries(path)):
        if not isinstance(entry, dict):
            raise PluginConfigRefused(f"{path}: plugins[{number}] is no mapping")
        fields = cast("dict[Any, Any]", entry)
        if fields.get("kind") == "external":
            plugin = _plugin(fields, f"{path}: plugins[{number}]")
            found.setdefault(plugin.name, plugin)
    return list(found.values())


def _entries(path: Path) -> list[Any]:
    document = _document(path)
    if not isinstance(document, dict):
        raise PluginConfigRefused(f"{path} is no mapping with the key plugins")
    entries = cast("dict[Any, Any]", document).get("plugins")
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise PluginConfigRefused(f"{path}: plugins is no list")
    return cast("list[Any]", entries)


def _document(path: Path) -> Any:
    try:
        return yaml.safe_load(read_file(path).decode()) or {}
    except UnicodeDecodeError:
        raise FileUnusable(f"{path} is not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise PluginConfigRefused(f"{path} is not YAML{where}: {error.problem or error.context}") from None
    except RecursionError:
        raise PluginConfigRefused(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise PluginConfigRefused(f"{path} is not YAML: {error}") from None


def _plugin(fields: dict[Any, Any], where: str) -> ExternalPlugin:
    name = fields.get("name")
    if not isinstance(name, str):
        raise PluginConfigRefused(f"{where} has no name")
    try:
        return ExternalPlugin(plugin_name(name), _host(fields.get("mcp")))
    except NameRefused as error:
        raise PluginConfigRefused(f"{where}: {error.detail}") from None


def _host(mcp: Any) -> str:
    """The host that the gateway will look for in the certificate; empty for other transports."""
    url = cast("dict[Any, Any]", mcp).get("url") if isinstance(mcp, dict) else None
    if not isinstance(url, str):
        return ""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        raise NameRefused(f"mcp.url {url[:100]!a} is no URL") from None
    if host:
        alternative_name(host)
    return host
