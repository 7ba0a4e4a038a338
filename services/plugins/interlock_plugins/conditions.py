"""When a plugin runs: each block is an AND over its fields, each field an OR over its values, blocks are an OR."""

import msgspec

from interlock_common.messages.plugins import HookContext
from interlock_plugins.patterns import Pattern, any_of


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One block of ``conditions``; an empty field asks for nothing.

    ``prompts``, ``resources`` and ``content_types`` speak of other hooks and ask nothing of a tool call.
    """

    server_ids: tuple[str, ...] = ()
    tenant_ids: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    user_patterns: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ()


class Conditions:
    """The blocks of one plugin; without any it always runs."""

    def __init__(self, blocks: tuple[Condition, ...]) -> None:
        self._blocks = [(block, any_of(block.user_patterns) if block.user_patterns else None) for block in blocks]

    @property
    def tools(self) -> frozenset[str]:
        """The tools it can only run for; empty when it may run for any."""
        named = [block.tools for block, _ in self._blocks]
        return frozenset(name for tools in named for name in tools) if all(named) else frozenset()

    def hold(self, context: HookContext) -> bool:
        if not self._blocks:
            return True
        return any(_holds(block, users, context) for block, users in self._blocks)


def _holds(block: Condition, users: Pattern | None, context: HookContext) -> bool:
    return (
        (not block.tools or context.tool in block.tools)
        and (not block.server_ids or context.server_id in block.server_ids)
        and (not block.tenant_ids or not set(block.tenant_ids).isdisjoint(context.teams))
        and (users is None or users.found_in(context.principal.encode()))
    )
