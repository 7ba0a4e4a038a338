"""The hook contract: one request runs a whole chain of plugins."""

from typing import Literal

import msgspec

Hook = Literal[
    "tool_pre_invoke",
    "tool_post_invoke",
    "resource_pre_fetch",
    "resource_post_fetch",
    "prompt_pre_fetch",
    "prompt_post_fetch",
]
HOOKS: tuple[Hook, ...] = (
    "tool_pre_invoke", "tool_post_invoke", "resource_pre_fetch", "resource_post_fetch", "prompt_pre_fetch",
    "prompt_post_fetch",
)  # fmt: skip


class HookContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """Around what the hook runs; plugins decide and bindings select by it.

    ``tool`` is the name of the tool or prompt, or the URI of the resource, as the upstream knows it.
    """

    principal: str
    tool: str
    upstream: str
    server_id: str | None = None
    teams: tuple[str, ...] = ()


class HookCall(msgspec.Struct, frozen=True):
    """``svc.plugins.hook.run``: run every plugin bound to ``hook`` on ``payload``.

    ``payload`` is raw JSON: before the call the arguments object (for a resource its URI, a string), afterwards the
    result object. ``deadline`` is how many seconds the whole chain may take.
    """

    hook: Hook
    context: HookContext
    payload: msgspec.Raw
    deadline: float


class PluginVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one plugin of the chain said, for the record."""

    plugin: str
    action: Literal["continue", "replace", "deny", "failed", "would_deny"]
    detail: str = ""


class HookVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of the chain: go on, go on with ``payload``, or deny with a code and a reason."""

    action: Literal["continue", "replace", "deny"]
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    code: str = ""
    reason: str = ""
    plugin: str = ""
    verdicts: tuple[PluginVerdict, ...] = ()


class Binding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Bucket ``bindings``, key = hook: whether the edge must ask, for which tools, and what if nobody answers.

    ``tools`` empty means all tools. ``on_failure`` is the strictest of the chain's plugins; ``timeout`` in
    seconds bounds the whole chain.
    """

    hook: Hook
    plugins: tuple[str, ...]
    tools: tuple[str, ...] = ()
    on_failure: Literal["deny", "continue"] = "deny"
    timeout: float = 30.0


class PluginSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    kind: str
    mode: str
    hooks: tuple[str, ...]
    priority: int
    description: str = ""
    version: str = ""


class PluginList(msgspec.Struct, frozen=True):
    plugins: tuple[PluginSummary, ...]
