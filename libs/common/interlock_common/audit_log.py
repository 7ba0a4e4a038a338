"""Group commit of audit records: one durable publish carries all records of the moment.

Records are queued in order and published as newline-delimited batches, one batch in flight. ``record`` waits
until its record is stored by the bus; ``record_soon`` lets the record ride along with the next batch. A batch
that was not acknowledged is sent again, under the same ``Nats-Msg-Id``, until it is: nothing is lost and
nothing is stored twice. The queue is bounded; when it is full, what must be recorded is refused.
"""

import asyncio
from collections import deque

import msgspec
import structlog
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common.bus import Bus
from interlock_common.errors import Unavailable
from interlock_common.messages.subjects import audit_batch

_log = structlog.get_logger()
_encode = msgspec.json.encode

MAX_BATCH_BYTES = 512 * 1024
MAX_QUEUED_BYTES = 16 * 1024 * 1024
RETRY_SECONDS = 0.2
PUBLISH_SECONDS = 2.0
LINGER_SECONDS = 0.05
"""How long a record that nobody waits for may wait for company."""

type _Entry = tuple[bytes, asyncio.Future[None] | None]


class AuditLog:
    """The way of one process to the audit stream."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._subject = audit_batch(bus.service)
        self.author = f"{bus.service}-{bus.instance}"
        self._queue: deque[_Entry] = deque()
        self._queued_bytes = 0
        self._batches = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="audit log")

    async def stop(self, timeout: float = 5.0) -> None:
        """Publish what is queued, for as long as ``timeout`` allows."""
        self._closing = True
        self._wake.set()
        if self._task is None:
            return
        _, pending = await asyncio.wait([self._task], timeout=timeout)
        if pending:
            _log.error("audit records were not published before the end", records=len(self._queue))
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def record(self, record: msgspec.Struct, *, timeout: float = PUBLISH_SECONDS) -> None:
        """Queue ``record`` and wait until the bus has stored it.

        Raises Unavailable when that did not happen within ``timeout`` seconds or the queue is full; the record
        is then still published later if it was queued.
        """
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(_encode(record), stored)
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                await stored
        except TimeoutError:
            raise Unavailable(f"the audit stream did not take a record within {timeout:g} s") from None

    def record_soon(self, record: msgspec.Struct) -> None:
        """Queue ``record`` for the next batch; raises Unavailable when the queue is full."""
        self._add(_encode(record), None)
        if self._timer is None and not self._wake.is_set():
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._wake.set)

    def problem(self) -> str | None:
        """Why records cannot be taken, for health checks."""
        return None if self._queued_bytes < MAX_QUEUED_BYTES else "the queue of audit records is full"

    def _add(self, line: bytes, stored: asyncio.Future[None] | None) -> None:
        if self._queued_bytes + len(line) > MAX_QUEUED_BYTES:
            raise Unavailable("the queue of audit records is full")
        self._queue.append((line, stored))
        self._queued_bytes += len(line) + 1

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                await self._wake.wait()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if batch := self._take_batch():
                await self._publish(batch)

    def _take_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0][0]) < MAX_BATCH_BYTES):
            entry = self._queue.popleft()
            size += len(entry[0]) + 1
            batch.append(entry)
        return batch

    async def _publish(self, batch: list[_Entry]) -> None:
        self._batches += 1
        body = b"\n".join(line for line, _ in batch)
        headers = {"Nats-Msg-Id": f"{self.author}/{self._batches}"}
        refused = False
        while True:
            try:
                async with self._bus.lease():
                    await self._bus.js.publish(self._subject, body, timeout=PUBLISH_SECONDS, headers=headers)
                break
            except (NatsError, JetStreamError, Unavailable, OSError) as error:
                if not refused:  # said once for each outage, not with every attempt
                    _log.warning("audit batch not stored yet", error=type(error).__name__, records=len(batch))
                refused = True
                await asyncio.sleep(RETRY_SECONDS)
        self._queued_bytes -= len(body) + 1
        for _, stored in batch:
            if stored is not None and not stored.done():
                stored.set_result(None)
