"""What the everything-server remembers while it runs: counters, switches, and who wants to hear of changes."""

from collections import Counter, OrderedDict, defaultdict
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp_types import LoggingLevel
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

MOST_SESSIONS = 2_000
MOST_REMEMBERED = 1_000
_NOTIFY_SECONDS = 2.0

type Context = ServerRequestContext[Any, Any]


def is_modern(context: Context) -> bool:
    """Whether this request came without a session, at 2026-07-28 or later."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def session_id(context: Context) -> str:
    """The legacy session a request belongs to, empty in the modern era."""
    return "" if context.request is None else str(context.request.headers.get("mcp-session-id", ""))


class World:
    """One per server. ``pages`` makes every list that many pages long; zero means a single page."""

    def __init__(self, pages: int = 0) -> None:
        self.pages = pages
        self.bus = InMemorySubscriptionBus()
        self.counted: Counter[str] = Counter()
        self.cancelled: list[str] = []
        self.extra_tool = False
        self.extra_prompt = False
        self.extra_resource = False
        self.watched_text = "This resource has not been changed yet."
        self.levels: dict[str, LoggingLevel] = {}
        self._sessions: OrderedDict[str, ServerSession] = OrderedDict()
        self._watchers: defaultdict[str, set[str]] = defaultdict(set)

    def opened(self, context: Context) -> None:
        """A legacy session is initialized: it hears of changes from now on."""
        self._sessions[session_id(context)] = context.session
        while len(self._sessions) > MOST_SESSIONS:
            self.closed(next(iter(self._sessions)))

    def closed(self, session: str) -> None:
        """A legacy session is over."""
        self._sessions.pop(session, None)
        self.levels.pop(session, None)
        for watchers in self._watchers.values():
            watchers.discard(session)

    def watch(self, context: Context, uri: str) -> None:
        self._watchers[uri].add(session_id(context))

    def unwatch(self, context: Context, uri: str) -> None:
        self._watchers[uri].discard(session_id(context))

    def count(self, key: str) -> int:
        """How often ``key`` was counted, this time included."""
        if key not in self.counted and len(self.counted) >= MOST_REMEMBERED:
            self.counted.clear()
        self.counted[key] += 1
        return self.counted[key]

    def was_cancelled(self, label: str) -> None:
        self.cancelled = [*self.cancelled[-MOST_REMEMBERED:], label]

    async def announce(self, event: ServerEvent) -> None:
        """Tell everyone who asked for it, in both eras: listen streams, and the standing streams of sessions."""
        await self.bus.publish(event)
        for session in self._hearing(event):
            with anyio.move_on_after(_NOTIFY_SECONDS):
                await _notify(session, event)

    def _hearing(self, event: ServerEvent) -> list[ServerSession]:
        if isinstance(event, ResourceUpdated):
            return [self._sessions[name] for name in self._watchers[event.uri] if name in self._sessions]
        return list(self._sessions.values())


async def _notify(session: ServerSession, event: ServerEvent) -> None:
    match event:
        case ToolsListChanged():
            await session.send_tool_list_changed()
        case PromptsListChanged():
            await session.send_prompt_list_changed()
        case ResourcesListChanged():
            await session.send_resource_list_changed()
        case ResourceUpdated(uri=uri):
            await session.send_resource_updated(uri)
