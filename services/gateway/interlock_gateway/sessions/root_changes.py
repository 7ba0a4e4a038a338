"""A client whose roots changed: the upstreams that may have asked it for them are told (MCP 2025-11-25, roots)."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog
from nats.errors import Error as NatsError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import InterlockError
from interlock_common.messages.catalog import Upstream
from interlock_common.messages.resources import UPSTREAM_SESSIONS
from interlock_gateway.sessions.registry import OpenSession
from interlock_gateway.upstreams.sessions import SHARED
from interlock_gateway.upstreams.transport import Transport

_log = structlog.get_logger()
ROOTS_CHANGED = "notifications/roots/list_changed"
_MESSAGE = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'
_MAX_SESSIONS = 1_000
_MAX_SECONDS = 30.0


class Ways(Protocol):
    """How upstreams are reached, to tell them what becomes of a session."""

    def transport(self, upstream: Upstream) -> Transport: ...


class RootChanges:
    """Tells in the background, of each session once at a time: what is said meanwhile is one more time."""

    def __init__(self, bus: Bus, ways: Ways, upstreams: Mapping[str, Upstream]) -> None:
        self._bus = bus
        self._ways = ways
        self._upstreams = upstreams
        self._again: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, session: OpenSession) -> None:
        """The upstreams that have a session for this one ask for its roots anew, if they care."""
        if session.key in self._again:
            self._again[session.key] = True
            return
        if len(self._again) >= _MAX_SESSIONS:
            _log.warning("upstreams are not told that roots changed", limit=_MAX_SESSIONS)
            return
        self._again[session.key] = False
        task = asyncio.create_task(self._tell(session), name="roots changed")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell(self, session: OpenSession) -> None:
        try:
            again = True
            while again:
                async with asyncio.timeout(_MAX_SECONDS):
                    for upstream in await self._concerned(session.key):
                        await self._tell_one(upstream, session)
                again, self._again[session.key] = self._again[session.key], False
        except (InterlockError, NatsError, TimeoutError) as error:
            _log.warning("not every upstream was told that roots changed", error=type(error).__name__)
        finally:
            del self._again[session.key]

    async def _concerned(self, key: str) -> list[Upstream]:
        """Whoever has a session for it, and those of which only who has the stream or the process knows that."""
        known = {found.partition(".")[2] for found in await kv.keys(self._bus, UPSTREAM_SESSIONS, f"{key}.*")}
        return [each for each in tuple(self._upstreams.values()) if each.id in known or keeps_own_sessions(each)]

    async def _tell_one(self, upstream: Upstream, session: OpenSession) -> None:
        try:
            key = f"{SHARED}{session.key}"
            await self._ways.transport(upstream).notify(upstream, session.record.principal, key, _MESSAGE)
        except InterlockError as error:
            _log.warning("an upstream was not told that roots changed", upstream=upstream.name, reason=error.detail)


def keeps_own_sessions(upstream: Upstream) -> bool:
    """Whether the bucket ``upstream-sessions`` says nothing of the upstream's sessions, though it has them."""
    if upstream.transport in {"stdio", "reverse"}:
        shared = upstream.command is not None and upstream.command.shared
        return upstream.era == "legacy" and not shared
    return upstream.transport == "sse"
