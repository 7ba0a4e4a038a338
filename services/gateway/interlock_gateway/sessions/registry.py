"""Sessions of clients of the handshake era: in a bucket, so that any edge serves any of them."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, NotFound, TooManyRequests, Unavailable
from interlock_common.messages.gateway import Session, session_key
from interlock_common.messages.resources import SESSIONS
from interlock_common.mirror import Mirror
from interlock_gateway.caller import Caller
from interlock_gateway.handshake import Initialize

_log = structlog.get_logger()
_RENEWAL_SECONDS = 300.0
_FULL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that its caller may use: its id, its key on the bus, its record."""

    id: str
    key: str
    record: Session


class Sessions:
    """Opens, finds and ends sessions; a session id is no credential and counts only with its principal.

    A principal has at most ``per_principal`` of them, as far as this edge knows what others opened.
    """

    def __init__(
        self, bus: Bus, mirror: Mirror[Session], clock: Clock, *, lifetime: float, per_principal: int = 1000
    ) -> None:
        self._bus = bus
        self._mirror = mirror
        self._clock = clock
        self._lifetime = lifetime
        self._renewal = min(_RENEWAL_SECONDS, lifetime / 4)
        self._per_principal = per_principal
        self._owners: dict[str, str] = {}
        self._open = Counter[str]()
        self._renew_at: dict[str, float] = {}
        self._renewing: set[asyncio.Task[None]] = set()

    async def open(self, caller: Caller, asked: Initialize, server_id: str | None) -> OpenSession:
        """A new session; its id is 256 bits of randomness in visible ASCII.

        Raises TooManyRequests where the principal has as many as it may.
        """
        if self._open[caller.principal] >= self._per_principal:
            message = f"a principal has at most {self._per_principal} sessions open: end those that are not used"
            raise TooManyRequests(message, retry_after=_FULL_SECONDS)
        session_id = secrets.token_urlsafe(32)
        record = Session(
            caller.principal, asked.version, int(self._clock.time()), server_id, asked.capabilities, asked.client_info
        )
        session = OpenSession(session_id, session_key(session_id), record)
        self.changed(session.key, record)  # counts from now on: the mirror tells of it a moment later
        try:
            async with self._reached():
                await kv.put(self._bus, SESSIONS, session.key, record, ttl=self._lifetime)
        except BaseException:
            self.changed(session.key, None)
            raise
        return session

    async def update(self, key: str, change: Callable[[Session], Session]) -> None:
        """Change the record of a session, whatever other edges change at the same time."""
        async with self._reached():
            await kv.update(self._bus, SESSIONS, key, Session, change, ttl=self._lifetime)

    def touch(self, key: str) -> None:
        """Let a session that is in use live on: every few minutes, in the background."""
        now = self._clock.monotonic()
        renew_at = self._renew_at.setdefault(key, now + self._renewal)
        if now >= renew_at:
            self._renew_at[key] = now + self._renewal
            task = asyncio.create_task(self._renew(key), name="renewal of a session")
            self._renewing.add(task)
            task.add_done_callback(self._renewing.discard)

    def changed(self, key: str, record: Session | None) -> None:
        """Take a change of the bucket: count a session that was opened anywhere, keep nothing of one that ended."""
        if record is not None:
            if key not in self._owners:
                self._owners[key] = record.principal
                self._open[record.principal] += 1
            return
        self._renew_at.pop(key, None)
        if (owner := self._owners.pop(key, None)) is not None:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]

    async def stop(self) -> None:
        await asyncio.gather(*self._renewing, return_exceptions=True)

    async def _renew(self, key: str) -> None:
        try:
            await self.update(key, lambda record: record)
        except InterlockError as error:
            _log.warning("a session could not be renewed", reason=error.detail)

    async def find(self, session_id: str, caller: Caller, server_id: str | None) -> OpenSession:
        """The session, from memory or, when it was opened elsewhere a moment ago, from the bus.

        Raises NotFound when it has ended, or is another principal's or another server's.
        """
        key = session_key(session_id)
        record = self._mirror.get(key)
        if record is None:
            async with self._reached():
                record = await kv.get(self._bus, SESSIONS, key, Session)
        if record is None or record.principal != caller.principal or record.server_id != server_id:
            raise NotFound("no such session: it ended, or was never opened here")
        self.touch(key)
        return OpenSession(session_id, key, record)

    async def end(self, session: OpenSession) -> None:
        async with self._reached():
            await kv.delete(self._bus, SESSIONS, session.key)

    def watch(self, session: OpenSession, expires_at: int) -> "SessionEnd":
        """Whether a session, and the token it is used with, go on: for the stream that waits on both."""
        return SessionEnd(self._mirror, session.key, self._clock, expires_at)

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
