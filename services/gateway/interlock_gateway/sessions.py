"""Sessions of clients of the handshake era: in a bucket, so that any edge serves any of them."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import NotFound, Unavailable
from interlock_common.messages.gateway import Session, session_key
from interlock_common.messages.resources import SESSIONS
from interlock_common.mirror import Mirror
from interlock_gateway.authentication import Caller


class Sessions:
    """Opens, finds and ends sessions; a session id is no credential and counts only with its principal."""

    def __init__(self, bus: Bus, mirror: Mirror[Session], clock: Clock, *, lifetime: float) -> None:
        self._bus = bus
        self._mirror = mirror
        self._clock = clock
        self._lifetime = lifetime

    async def open(self, caller: Caller, version: str, server_id: str | None, capabilities: msgspec.Raw) -> str:
        """A new session; its id is 256 bits of randomness in visible ASCII."""
        session_id = secrets.token_urlsafe(32)
        session = Session(caller.principal, version, int(self._clock.time()), server_id, capabilities)
        async with self._reached():
            await kv.put(self._bus, SESSIONS, session_key(session_id), session, ttl=self._lifetime)
        return session_id

    async def find(self, session_id: str, caller: Caller, server_id: str | None) -> Session:
        """The session, from memory or, when it was opened elsewhere a moment ago, from the bus.

        Raises NotFound when it has ended, or is another principal's or another server's.
        """
        key = session_key(session_id)
        session = self._mirror.get(key)
        if session is None:
            async with self._reached():
                session = await kv.get(self._bus, SESSIONS, key, Session)
        if session is None or session.principal != caller.principal or session.server_id != server_id:
            raise NotFound("no such session: it ended, or was never opened here")
        return session

    async def end(self, session_id: str) -> None:
        async with self._reached():
            await kv.delete(self._bus, SESSIONS, session_key(session_id))

    def watch(self, session_id: str, expires_at: int) -> "SessionEnd":
        """Whether a session, and the token it is used with, go on: for the stream that waits on both."""
        return SessionEnd(self._mirror, session_key(session_id), self._clock, expires_at)

    @asynccontextmanager
    async def _reached(self) -> AsyncGenerator[None]:
        """Raises Unavailable at once while the bus is away, and when it goes away meanwhile."""
        try:
            async with self._bus.lease():
                yield
        except (NatsError, JetStreamError) as error:
            raise Unavailable(f"sessions cannot be reached at the moment: {type(error).__name__}") from error


class SessionEnd:
    """Tells a long-lived stream whether its session has ended, wherever that was decided, or its token expired."""

    def __init__(self, mirror: Mirror[Session], key: str, clock: Clock, expires_at: int) -> None:
        self._mirror = mirror
        self._key = key
        self._clock = clock
        self._expires_at = expires_at
        self._seen = False

    def reached(self) -> bool:
        present = self._mirror.get(self._key) is not None
        self._seen = self._seen or present
        return (self._seen and not present) or self._clock.time() >= self._expires_at
