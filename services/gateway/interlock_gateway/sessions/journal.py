"""What streams of sessions said, kept on the bus for a while, so that any edge can go on with them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages.resources import SESSION_MESSAGES, SESSIONS, UPSTREAM_SESSIONS

_log = structlog.get_logger()
_MAX_BYTES_ON_WAY = 16 * 1024 * 1024
_MAX_ON_WAY = 1024
_PUBLISH_SECONDS = 2.0
_GIVE_UP_SECONDS = 30.0
_RETRY_SECONDS = 0.1
_UNIQUE = "Nats-Msg-Id"
NEWEST = -1
"""In place of a place: behind all that is there when reading begins."""

_AWAY = (NatsError, JetStreamError, Unavailable, OSError)


class Journal:
    """Writes what was said without waiting for each message to be stored, and reads it in its order."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.generation = 0
        """Counts the connections: what was opened over an earlier one is to be opened again."""
        self.clock = clock
        self._bus = bus
        self._on_way: Counter[str] = Counter()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: set[asyncio.Task[None]] = set()
        bus.on_connected(self._renew)

    @property
    def stream(self) -> JetStreamContext:
        return self._bus.js

    def on_way(self, subject: str) -> bool:
        """Whether something of this subject is not stored yet."""
        return subject in self._on_way

    async def keep(self, subject: str, data: bytes, headers: Mapping[str, str], unique: str) -> None:
        """Store a message soon, once under its ``unique`` name; waits only while too much is on its way already."""
        while not self._room.is_set():
            await self._room.wait()
        self._count(subject, len(data), 1)
        task = asyncio.create_task(self._store(subject, data, {**headers, _UNIQUE: unique}), name=f"keep {subject}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def keep_now(self, subject: str, data: bytes, headers: Mapping[str, str]) -> int:
        """Store a message and answer its place among all messages; raises Unavailable where the bus is away."""
        try:
            async with self._bus.lease():
                ack = await self.stream.publish(subject, data, timeout=_PUBLISH_SECONDS, headers=dict(headers))
        except (NatsError, JetStreamError, OSError) as error:
            raise Unavailable(f"streams cannot be kept at the moment: {type(error).__name__}") from error
        return ack.seq

    async def extent(self) -> tuple[str, int]:
        """When the count of places began, which a restart of the bus does anew, and the place of the newest message."""
        info = await self.stream.stream_info(SESSION_MESSAGES.name)
        return str(info.created), info.state.last_seq

    @asynccontextmanager
    async def read(self, subject: str, after: int = 0) -> AsyncGenerator["Reading"]:
        """The messages of ``subject`` behind the place ``after``, and those that follow."""
        reading = Reading(self, subject, after)
        try:
            yield reading
        finally:
            await reading.close()

    async def stop(self, timeout: float = 5.0) -> None:
        """Wait for what is on its way, as long as ``timeout`` allows."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self) -> None:
        """After a restart of the bus what is in memory only is no more: make it again."""
        self.generation += 1
        task = asyncio.create_task(self._restore(), name="streams and buckets of sessions")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _restore(self) -> None:
        generation = self.generation
        while generation == self.generation:
            try:
                await kv.ensure_stream(self._bus, SESSION_MESSAGES)
                for bucket in (SESSIONS, UPSTREAM_SESSIONS):
                    await kv.ensure_bucket(self._bus, bucket)
            except _AWAY:
                await self.clock.sleep(_RETRY_SECONDS)
            else:
                return

    async def _store(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        deadline = self.clock.monotonic() + _GIVE_UP_SECONDS
        try:
            while True:
                try:
                    async with self._bus.lease():
                        await self.stream.publish(subject, data, timeout=_PUBLISH_SECONDS, headers=headers)
                except _AWAY as error:
                    if self.clock.monotonic() > deadline:
                        _log.error("what a stream said was not kept", subject=subject, error=type(error).__name__)
                        return
                    await self.clock.sleep(_RETRY_SECONDS)
                else:
                    return
        finally:
            self._count(subject, -len(data), -1)

    def _count(self, subject: str, size: int, messages: int) -> None:
        self._on_way[subject] += messages
        if not self._on_way[subject]:
            del self._on_way[subject]
        self._bytes += size
        if self._bytes < _MAX_BYTES_ON_WAY and self._on_way.total() < _MAX_ON_WAY:
            self._room.set()
        else:
            self._room.clear()


class Reading:
    """Messages in their order and once each, through reconnections and rotations; ``place`` is that of the last."""

    def __init__(self, journal: Journal, subject: str, after: int) -> None:
        self.place = after
        self._journal = journal
        self._subject = subject
        self._epoch = ""
        self._generation = -1
        self._subscription: JetStreamContext.PushSubscription | None = None

    async def next(self, timeout: float) -> Msg | None:
        """The next message; None when there is none within ``timeout`` seconds, or the bus is away."""
        clock = self._journal.clock
        deadline = clock.monotonic() + timeout
        while (left := deadline - clock.monotonic()) > 0:
            try:
                subscription = await self._open()
                message = await subscription.next_msg(timeout=left)
            except TimeoutError:
                return None
            except _AWAY:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from None  # nats-py takes it for a closed connection
                self._generation = -1
                await clock.sleep(min(_RETRY_SECONDS, left))
                continue
            place = message.metadata.sequence.stream
            if place > self.place:
                self.place = place
                return message
        return None

    async def close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        with contextlib.suppress(*_AWAY):  # its connection may be closed already, and the subscription with it
            await subscription.unsubscribe()
        # Where the connection is closed, unsubscribing leaves these two running for ever.
        state: Any = subscription._sub._jsi  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        for task in (state._hbtask, state._fctask):  # noqa: SLF001
            task.cancel()

    async def _open(self) -> JetStreamContext.PushSubscription:
        if self._subscription is not None and self._generation == self._journal.generation:
            return self._subscription
        await self.close()
        generation = self._journal.generation
        epoch, last = await self._journal.extent()
        if self._epoch not in {"", epoch}:
            self.place = 0
        elif self.place == NEWEST:
            self.place = last
        self._epoch = epoch
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self.place + 1, ack_policy=AckPolicy.NONE
        )
        self._subscription = await self._journal.stream.subscribe(
            self._subject, stream=SESSION_MESSAGES.name, ordered_consumer=True, config=config
        )
        self._generation = generation
        return self._subscription
