from pathlib import Path

import pytest

from interlock_common.errors import ConfigurationError
from interlock_plugins.plugin_file import parse_plugin_file, read_plugin_file

FULL = """
plugin_dirs: ["plugins/native", "plugins/custom"]
plugins:
  - name: "DenyListPlugin"
    kind: "plugins.deny_filter.deny.DenyListPlugin"
    description: "A plugin that implements a deny list filter."
    version: "0.1.0"
    author: "somebody"
    hooks: ["prompt_pre_fetch", "tool_pre_invoke"]
    tags: ["filter"]
    mode: "enforce_ignore_error"
    priority: 100
    conditions:
      - prompts: ["test_prompt"]
        server_ids: []
        tenant_ids:
    config:
      words: [innovative]
  - name: Remote
    kind: external
    mode: disabled
    mcp: {proto: STREAMABLEHTTP, url: "https://plugin:8000/mcp"}
plugin_settings:
  parallel_execution_within_band: true
  plugin_timeout: 120
  fail_on_plugin_error: false
  enable_plugin_api: true
  plugin_health_check_interval: 120
server_settings: {host: "127.0.0.1", port: 8000}
"""


def test_the_form_of_the_1_0_line_is_read() -> None:
    file = parse_plugin_file(FULL, "config.yaml")
    assert [plugin.name for plugin in file.plugins] == ["DenyListPlugin", "Remote"]
    assert file.plugins[0].conditions[0].prompts == ("test_prompt",)
    assert file.plugin_settings.plugin_timeout == 120


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "plugins: [{name: A, kind: k, mode: maybe}]",
            r"c\.yaml: plugin A: mode: invalid enum value 'maybe'; known are enforce",
        ),
        (
            "plugins: [{name: A, kind: k, hooks: [tool_before]}]",
            r"plugin A: hooks\[0\]: .*'tool_before'; known are prompt",
        ),
        ("plugins: [{name: A, kind: k, prio: 1}]", "plugin A: object contains unknown field `prio`"),
        ("plugins: [{name: A}]", "plugin A: object missing required field `kind`"),
        ("plugins: [{kind: k}]", "plugin number 0: object missing required field `name`"),
        (
            "plugins: [{name: A, kind: k, conditions: [{tool: [x]}]}]",
            r"plugin A: conditions\[0\]: .*unknown field `tool`",
        ),
        ("plugins: [{name: A, kind: k}, {name: A, kind: k}]", "plugin A is there twice"),
        ("plugin_settings: {plugin_timeout: soon}", r"plugin_settings\.plugin_timeout: expected `float`"),
        ("plugin: []", "unknown field `plugin`"),
        ("plugins: {a: b}", "plugins must be a list"),
        ("[1]", "must be a mapping"),
        ("plugins: [", "is not YAML: .* in line 1"),
    ],
)
def test_a_mistake_is_refused_with_its_plugin_and_key(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        parse_plugin_file(text, "c.yaml")


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"PLUGINS_CONFIG_PATH .*gone\.yaml cannot be read"):
        read_plugin_file(tmp_path / "gone.yaml")


def test_the_packaged_file_redacts_results() -> None:
    enabled = [plugin for plugin in read_plugin_file(None).plugins if plugin.mode != "disabled"]
    assert [plugin.name for plugin in enabled] == ["SecretsDetection"]
    assert enabled[0].hooks == ("tool_post_invoke",)


def test_nothing_at_all_is_a_valid_file() -> None:
    assert parse_plugin_file("", "c.yaml").plugins == ()
