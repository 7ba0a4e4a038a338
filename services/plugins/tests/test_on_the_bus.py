"""Plugins as a whole, on a real bus with the permissions of the deployment, asked as the gateway asks."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
import pytest

from interlock_common.bus import Bus
from interlock_common.messages import resources, subjects
from interlock_common.messages.common import Actor, Page
from interlock_common.messages.plugins import Binding, HookCall, HookContext, HookVerdict, PluginList
from interlock_common.mirror import Mirror
from interlock_common.testing.bus import TRUST_DOMAIN, EmbeddedBus
from interlock_plugins.app import serve
from interlock_plugins.config import Settings

FILE = """
plugins:
  - {name: Words, kind: plugins.deny_filter.deny.DenyListPlugin, hooks: [tool_pre_invoke], config: {words: [rm -rf]}}
  - {name: Secrets, kind: plugins.secrets_detection.secrets_detection.SecretsDetectionPlugin,
     hooks: [tool_post_invoke], mode: permissive, config: {redact: true}}
"""
TOKEN = "ghp_" + "a1B2" * 9
CONTEXT = HookContext("user@example.com", "run", "up-1")


def call(arguments: str) -> HookCall:
    return HookCall("tool_pre_invoke", CONTEXT, msgspec.Raw(arguments.encode()), 2.0)


@pytest.fixture
async def gateway(embedded_bus: EmbeddedBus, tmp_path: Path) -> AsyncGenerator[Bus]:
    """The gateway's connection, with plugins running beside it."""
    (tmp_path / "config.yaml").write_text(FILE)
    embedded_bus.identity("plugins")
    settings = Settings(
        bus_url=embedded_bus.url, trust_domain=TRUST_DOMAIN, health_port=0,
        identity_dir=embedded_bus.directory / "identities" / "plugins", plugins_config_path=tmp_path / "config.yaml",
    )  # fmt: skip
    task = asyncio.create_task(serve(settings))
    gateway = embedded_bus.bus("gateway")
    await gateway.start()
    yield gateway
    await gateway.stop()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_bound_hook_is_published_and_answered(gateway: Bus) -> None:
    bindings = Mirror(gateway, resources.BINDINGS, Binding)
    bound = asyncio.Event()
    bindings.on_change(lambda _key, _value: bound.set())
    await bindings.start()
    await asyncio.wait_for(bound.wait(), 10)
    assert bindings.items["tool_pre_invoke"] == Binding("tool_pre_invoke", ("Words",))
    await bindings.stop()

    clean = await gateway.request(subjects.PLUGINS_HOOK_RUN, call('{ "c": "ls" }'), HookVerdict)
    assert (clean.action, clean.payload) == ("continue", msgspec.UNSET)
    denied = await gateway.request(subjects.PLUGINS_HOOK_RUN, call('{"c": "RM -RF /"}'), HookVerdict)
    assert (denied.action, denied.code, denied.plugin) == ("deny", "DENY", "Words")
    dirty = HookCall("tool_post_invoke", CONTEXT, msgspec.Raw(f'{{"n": 1.0, "t":"{TOKEN}"}}'.encode()), 2.0)
    redacted = await gateway.request(subjects.PLUGINS_HOOK_RUN, dirty, HookVerdict)
    assert (redacted.action, redacted.payload) == ("replace", msgspec.Raw(b'{"n": 1.0, "t":"[REDACTED]"}'))
    listed = await gateway.request(subjects.PLUGINS_PLUGIN_LIST, Page(Actor("user@example.com")), PluginList)
    assert [plugin.name for plugin in listed.plugins] == ["Words", "Secrets"]
