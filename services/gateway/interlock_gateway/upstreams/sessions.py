"""The sessions that upstreams of the handshake era keep for us: whose they are, and that each is opened once.

A ``session_key`` that begins with ``SHARED`` belongs to a session of a client, which any edge may serve: what the
upstream knows it by must then be known to every edge. All other keys belong to this edge alone.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from interlock_common.messages.gateway import UpstreamSession

SHARED = "s."
"""What the ``session_key`` of a client's session begins with; its key in the bucket ``sessions`` follows."""

_MAX_SESSIONS = 10_000

type Key = tuple[str, str]
type Opening = Callable[[], Awaitable[UpstreamSession]]


class UpstreamSessions(Protocol):
    """Where sessions of upstreams are kept, by upstream id and session key."""

    def known(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        """The session, if this process has it at hand."""
        ...

    async def obtain(self, upstream_id: str, session_key: str, opening: Opening) -> UpstreamSession:
        """The session, opened with ``opening`` where there is none.

        Where another edge was faster, its session is the answer, and what ``opening`` made is not used by anybody.
        """
        ...

    async def lost(self, upstream_id: str, session_key: str, session: UpstreamSession) -> None:
        """The upstream does not know ``session`` any more: forget it, unless another took its place already."""
        ...

    async def take(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        """Forget the session and answer what it was."""
        ...


@dataclass(slots=True)
class _Turn:
    """Whoever opens a session and whoever waits for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class MemorySessions:
    """Sessions of this process, the 10,000 used last."""

    def __init__(self, limit: int = _MAX_SESSIONS) -> None:
        self._limit = limit
        self._sessions: OrderedDict[Key, UpstreamSession] = OrderedDict()
        self._opening: dict[Key, _Turn] = {}

    def known(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        key = (upstream_id, session_key)
        session = self._sessions.get(key)
        if session is not None:
            self._sessions.move_to_end(key)
        return session

    async def obtain(self, upstream_id: str, session_key: str, opening: Opening) -> UpstreamSession:
        key = (upstream_id, session_key)
        turn = self._opening.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                session = self._sessions.get(key)
                if session is None:
                    session = self._sessions[key] = await opening()
                    if len(self._sessions) > self._limit:
                        self._sessions.popitem(last=False)
                return session
        finally:
            turn.users -= 1
            if not turn.users:
                del self._opening[key]

    async def lost(self, upstream_id: str, session_key: str, session: UpstreamSession) -> None:
        if self._sessions.get((upstream_id, session_key)) == session:
            del self._sessions[upstream_id, session_key]

    async def take(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        return self._sessions.pop((upstream_id, session_key), None)
