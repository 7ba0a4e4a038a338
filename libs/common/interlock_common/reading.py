"""Reading a KV bucket from its beginning on: complete before it counts, live afterwards, anew after a reconnection."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.messages.resources import Bucket

_log = structlog.get_logger()
_RETRY_SECONDS = 0.2
_GONE = "KV-Operation"
_EXPIRED = "Nats-Marker-Reason"
_PLAIN_REPLY = 9
"""Parts of ``$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>``."""

type OnChange[T] = Callable[[str, T | None], None]


class Held[T](Protocol):
    """Where a reading puts what it reads, by key."""

    def __setitem__(self, key: str, value: T, /) -> None: ...
    def pop(self, key: str, default: None, /) -> T | None: ...


class BucketReader[T, H: Held[Any]](ABC):
    """The values of ``bucket`` by key, held in whatever ``_empty`` makes.

    ``complete`` turns true when everything the bucket held at the start has been read; ``stale_since`` is the
    monotonic moment at which the bus was lost, None while the mirror is live.
    """

    def __init__(self, bus: Bus, bucket: Bucket, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.bucket = bucket
        self.complete = False
        self.stale_since: float | None = None
        self.revision = 0
        self._bus = bus
        self._clock = clock
        self._items = self._empty()
        self._prefix = len(f"$KV.{bucket.name}.")
        self._sync: _Sync[T, H] | None = None
        self._reading: _Sync[T, H] | None = None
        self._listeners: list[OnChange[T]] = []
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @abstractmethod
    def _empty(self) -> H:
        """What a reading fills."""

    async def _begun(self, stream: JetStreamContext) -> tuple[H, int]:  # noqa: ARG002 - for those who know a short cut
        """What a reading begins with, and up to which sequence of the bucket that goes; 0 is from its beginning."""
        return self._empty(), 0

    @abstractmethod
    def _decode(self, key: str, content: bytes) -> T:
        """The value of ``content``; raises msgspec.DecodeError."""

    @abstractmethod
    def _replaced(self, before: H, items: H) -> None:
        """Tell who listens what a new reading changed."""

    def on_change(self, listener: OnChange[T]) -> None:
        """Call ``listener(key, value)`` for each change, with None for what is gone."""
        self._listeners.append(listener)

    @property
    def applied(self) -> int:
        """The sequence up to which the bucket counts here; ``revision`` may be ahead while it is read anew."""
        return 0 if self._sync is None else self._sync.sequence

    @property
    def reading(self) -> bool:
        """Whether the bucket is being read, for the first time or anew."""
        return self._task is not None and not self._task.done()

    def problem(self) -> str | None:
        """Why the mirror cannot be relied upon, for health checks.

        A value that does not fit its contract is one reason: it could be a revocation, so it is not passed over.
        """
        for sync in (self._reading, self._sync):
            if sync is not None and sync.unreadable:
                return f"bucket {self.bucket.name} holds what does not fit its contract: {min(sync.unreadable)}"
        return None if self.complete else f"bucket {self.bucket.name} is not read completely yet"

    async def start(self) -> None:
        """Begin to read; returns at once, ``wait_complete`` waits."""
        self._bus.on_connected(self.restart)
        self._bus.on_lost(self._lost)
        await self.restart()

    async def wait_complete(self, timeout: float | None = 10.0) -> None:
        async with asyncio.timeout(timeout):
            await self._ready.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._sync is not None:
            await self._sync.close()

    def _lost(self) -> None:
        if self.stale_since is None:
            self.stale_since = self._clock.monotonic()

    async def restart(self) -> None:
        """Read the bucket anew; what was read before counts until then."""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._read(), name=f"mirror {self.bucket.name}")

    async def _read(self) -> None:
        fresh = await self._opened()
        self._reading = fresh
        try:
            await fresh.done.wait()
        except asyncio.CancelledError:  # a reading that is given up must not go on arriving
            await fresh.close()
            raise
        old, self._sync, self._reading = self._sync, fresh, None
        self._swap(fresh.items)
        if old is not None:
            await old.close()

    async def _opened(self) -> "_Sync[T, H]":
        while True:
            try:
                fresh: _Sync[T, H] = _Sync(self, *await self._begun(self._bus.js))
                await fresh.open(self._bus.js)
            except (NotFoundError, ServiceUnavailableError):  # not created yet, or away while a server reloads
                await self._clock.sleep(_RETRY_SECONDS)
            except (NatsError, OSError) as error:
                _log.warning("bucket cannot be read yet", bucket=self.bucket.name, error=type(error).__name__)
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                return fresh

    def _swap(self, items: H) -> None:
        before, self._items = self._items, items
        self.complete, self.stale_since = True, None
        self._ready.set()
        self._replaced(before, items)

    def apply(self, sync: "_Sync[T, H]", message: Msg) -> None:
        """Take one change from the reader ``sync`` into its map; the readers' only way in."""
        key = message.subject[self._prefix :]
        headers = message.headers
        sequence, pending = _position(message)
        sync.sequence = max(sync.sequence, sequence)
        self.revision = max(self.revision, sequence)
        value: T | None = None
        readable = True
        if headers and (_GONE in headers or _EXPIRED in headers):
            sync.items.pop(key, None)
        else:
            try:
                value = self._decode(key, message.data)
            except msgspec.DecodeError as error:
                _log.error(
                    "bucket holds what does not fit its contract",
                    bucket=self.bucket.name,
                    key=key,
                    error=str(error),
                )
                readable = False
            else:
                sync.items[key] = value
        sync.note(key, readable=readable, last=pending == 0)
        if sync is self._sync and readable:
            self._tell(key, value)

    def _tell(self, key: str, value: T | None) -> None:
        for listener in self._listeners:
            listener(key, value)


class _Sync[T, H: Held[Any]]:
    """One reading of the bucket from its beginning on, through an ordered consumer."""

    def __init__(self, mirror: BucketReader[T, H], items: H, after: int) -> None:
        self.items = items
        self._after = after
        self.sequence = 0
        self.done = asyncio.Event()
        self.unreadable: set[str] = set()
        self._read_through = False
        self._mirror = mirror
        self._subscription: JetStreamContext.PushSubscription | None = None

    async def open(self, stream: JetStreamContext) -> None:
        bucket = self._mirror.bucket.name
        # The last messages of the bucket may have expired: nothing that arrives then says how far it has come.
        self.sequence = (await stream.stream_info(f"KV_{bucket}")).state.last_seq
        config = ConsumerConfig(deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, ack_policy=AckPolicy.NONE)
        if self._after:
            config.deliver_policy, config.opt_start_seq = DeliverPolicy.BY_START_SEQUENCE, self._after + 1
        self._subscription = await stream.subscribe(
            f"$KV.{bucket}.>", stream=f"KV_{bucket}", ordered_consumer=True, config=config, cb=self._take
        )
        info = await self._subscription.consumer_info()
        if info.num_pending == 0 and info.delivered is not None and info.delivered.consumer_seq == 0:
            self.done.set()  # an empty bucket sends no message that could say it was the last

    def note(self, key: str, *, readable: bool, last: bool) -> None:
        """Take note of a message; a reading is done when it came to the end and all of it could be read."""
        if not readable:
            self.unreadable.add(key)
        elif self.unreadable:
            self.unreadable.discard(key)
        self._read_through = self._read_through or last
        if self._read_through and not self.unreadable:
            self.done.set()

    async def _take(self, message: Msg) -> None:
        self._mirror.apply(self, message)

    async def close(self) -> None:
        if self._subscription is None:
            return
        with contextlib.suppress(NatsError):  # its connection is closed already, and the subscription with it
            await self._subscription.unsubscribe()


def _position(message: Msg) -> tuple[int, int]:
    """Sequence in the stream, and how many messages are still to come; without the rest of the metadata, for speed."""
    parts = message.reply.split(".")
    return (int(parts[5]), int(parts[8])) if len(parts) == _PLAIN_REPLY else (int(parts[7]), int(parts[10]))
