"""Accepting TLS connections: each with the context of that moment, in a bounded time, and none without a trace.

What ``loop.create_server`` does is not enough: its context is the same for ever, it keeps why a handshake failed to
itself, and connections that say nothing only end by their time limit, however many there are.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

import structlog

from interlock_common import telemetry
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.tls_handshake import LEFT, in_words, on_failure

_log = structlog.get_logger()
HANDSHAKE_SECONDS = 10.0
MOST_HANDSHAKES = 1000
_LINGER_SECONDS = 1.0
"""For a client to read why it was refused."""
_AT_ONCE = 64
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ROOM_SECONDS = 1.0
_TOLD_EVERY = 10.0

type Protocols = Callable[[], asyncio.Protocol]
type Context = Callable[[], ssl.SSLContext]
type Refused = Callable[[str, str, int], None]
"""Takes the reason, the address of the peer, and how many more there were since it was called last for this reason."""


class Acceptor:
    """One listening socket; what uvicorn expects of a server.

    Of more than ``most`` handshakes under way the oldest is dropped for each that begins.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: Context,
        protocols: Protocols,
        *,
        seconds: float = HANDSHAKE_SECONDS,
        most: int = MOST_HANDSHAKES,
        clock: Clock = SYSTEM_CLOCK,
        refused: Refused | None = None,
    ) -> None:
        self._listener = listener
        self._context = context
        self._protocols = protocols
        self._seconds = seconds
        self._most = most
        self._told = _Told(clock, refused)
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[asyncio.Task[None], None] = {}
        self._pause: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        self._listener.listen(backlog)
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Take no more connections, and leave those whose handshake is not complete."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        for task in self._under_way:
            task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._wait_for_room(error)
                return
            connection.setblocking(False)
            self._begin(connection, str(peer[0]))

    def _begin(self, connection: socket.socket, peer: str) -> None:
        # Eager: a task that is cancelled before its first step would leave the connection to nobody.
        task = asyncio.Task(self._open(connection, peer), loop=self._loop, eager_start=True)
        if task.done():
            return
        self._under_way[task] = None
        task.add_done_callback(lambda done: self._under_way.pop(done, None))
        if len(self._under_way) > self._most:
            self._told.refused("too many handshakes are under way", peer)
            next(iter(self._under_way)).cancel()

    def _wait_for_room(self, error: OSError) -> None:
        _log.error("no more connections can be taken for a moment", error=error.strerror)
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(_ROOM_SECONDS, lambda: self._loop.add_reader(self._listener, self._accept))

    async def _open(self, connection: socket.socket, peer: str) -> None:
        task, refused = asyncio.current_task(), False
        lingering: asyncio.TimerHandle | None = None

        def failed(error: ssl.SSLError) -> None:
            nonlocal refused, lingering
            refused = True
            self._told.refused(in_words(error), peer)
            if task is not None:
                lingering = self._loop.call_later(_LINGER_SECONDS, task.cancel)

        on_failure.set(failed)
        try:
            await self._loop.connect_accepted_socket(
                self._protocols, connection, ssl=self._context(), ssl_handshake_timeout=self._seconds
            )
        except OSError as error:
            if not refused:
                self._told.refused(in_words(error), peer)
        finally:
            if lingering is not None:
                lingering.cancel()


class _Told:
    """Counts refusals, and says each reason at most once in a while: anybody can cause them."""

    def __init__(self, clock: Clock, also: Refused | None) -> None:
        self._clock = clock
        self._also = also
        self._next: dict[str, tuple[float, int]] = {}

    def refused(self, reason: str, peer: str) -> None:
        telemetry.TLS_REFUSED.add(1, {telemetry.ERROR_TYPE: reason})
        now = self._clock.monotonic()
        due, unsaid = self._next.get(reason, (0.0, 0))
        if now < due:
            self._next[reason] = (due, unsaid + 1)
            return
        if len(self._next) > _AT_ONCE:
            self._next.clear()
        self._next[reason] = (now + _TOLD_EVERY, 0)
        if reason == LEFT:  # balancers and monitors connect and leave, all day long
            _log.debug("a TLS handshake failed", reason=reason, peer=peer, more_since=unsaid)
            return
        _log.warning("a TLS handshake failed", reason=reason, peer=peer, more_since=unsaid)
        if self._also is not None:
            self._also(reason, peer, unsaid)
