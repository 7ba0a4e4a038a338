"""The sessions that upstreams of the handshake era keep for us: whose they are, and that each is opened once.

A ``session_key`` that begins with ``SHARED`` belongs to a session of a client, which any edge may serve: what the
upstream knows it by must then be known to every edge. All other keys belong to this edge alone.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import Unavailable
from interlock_common.messages.gateway import UpstreamSession, upstream_session_key
from interlock_common.messages.resources import UPSTREAM_SESSIONS

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

    async def present(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        """The session, wherever it is known."""
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

    async def present(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        return self.known(upstream_id, session_key)

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


class SharedSessions:
    """Sessions of clients in the bucket ``upstream-sessions``, so that every edge uses the same; others in memory.

    An edge remembers what it read. Where that has been replaced meanwhile the upstream says so, and the edge looks
    again. ``lifetime`` in seconds is that of the clients' sessions. Raises Unavailable while the bus is away.
    """

    def __init__(self, bus: Bus, *, lifetime: float) -> None:
        self._bus = bus
        self._lifetime = lifetime
        self._memory = MemorySessions()

    def known(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        return self._memory.known(upstream_id, session_key)

    async def present(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        session = self.known(upstream_id, session_key)
        if session is not None or not session_key.startswith(SHARED):
            return session
        async with self._reached():
            return await kv.get(self._bus, UPSTREAM_SESSIONS, _key(upstream_id, session_key), UpstreamSession)

    async def obtain(self, upstream_id: str, session_key: str, opening: Opening) -> UpstreamSession:
        if not session_key.startswith(SHARED):
            return await self._memory.obtain(upstream_id, session_key, opening)

        async def shared() -> UpstreamSession:
            return await self._shared(_key(upstream_id, session_key), opening)

        return await self._memory.obtain(upstream_id, session_key, shared)

    async def lost(self, upstream_id: str, session_key: str, session: UpstreamSession) -> None:
        await self._memory.lost(upstream_id, session_key, session)
        if session_key.startswith(SHARED):
            async with self._reached():
                await kv.discard(self._bus, UPSTREAM_SESSIONS, _key(upstream_id, session_key), session)

    async def take(self, upstream_id: str, session_key: str) -> UpstreamSession | None:
        session = await self._memory.take(upstream_id, session_key)
        if not session_key.startswith(SHARED):
            return session
        key = _key(upstream_id, session_key)
        async with self._reached():
            shared = await kv.get(self._bus, UPSTREAM_SESSIONS, key, UpstreamSession)
            if shared is None or not await kv.discard(self._bus, UPSTREAM_SESSIONS, key, shared):
                return None  # another edge took it
        return shared

    async def _shared(self, key: str, opening: Opening) -> UpstreamSession:
        async with self._reached():
            present = await kv.get(self._bus, UPSTREAM_SESSIONS, key, UpstreamSession)
        if present is not None:
            return present
        session = await opening()
        async with self._reached():
            if not await kv.create(self._bus, UPSTREAM_SESSIONS, key, session, ttl=self._lifetime):
                faster = await kv.get(self._bus, UPSTREAM_SESSIONS, key, UpstreamSession)
                return faster or session
        return session

    @asynccontextmanager
    async def _reached(self) -> AsyncGenerator[None]:
        try:
            async with self._bus.lease():
                yield
        except (NatsError, JetStreamError) as error:
            raise Unavailable(f"sessions of upstreams cannot be reached: {type(error).__name__}") from error


def _key(upstream_id: str, session_key: str) -> str:
    return upstream_session_key(session_key.removeprefix(SHARED), upstream_id)
