"""NATS in and out: the endpoints, the consumer of the stream, the event of a checkpoint."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

from interlock_audit.appending import StreamState
from interlock_audit.batches import Delivery
from interlock_audit.models import CheckpointRow
from interlock_audit.reading import Trail
from interlock_common.bus import Bus
from interlock_common.errors import Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.audit import AskConsistency, AskInclusion, Checkpoint, ListRecords
from interlock_common.messages.common import ById, Page
from interlock_common.messages.resources import AUDIT

CONSUMER = "audit-writer"
_FETCH_SECONDS = 1.0
_GATHER_SECONDS = 0.05
"""While batches come one by one, so long they gather: a transaction and a sync of the disk for each would cost more."""
_RECOVER_SECONDS = 3.0
_ACK_SECONDS = 30.0
_MESSAGE_ID = "Nats-Msg-Id"


def bind(bus: Bus, trail: Trail) -> None:
    """Answer what ``messages/subjects.py`` names for audit."""

    async def checkpoint(request: Page) -> Checkpoint:
        return await trail.checkpoint(request.actor)

    bus.endpoint(subjects.AUDIT_RECORD_LIST, ListRecords, trail.list)
    bus.endpoint(subjects.AUDIT_RECORD_GET, ById, trail.get)
    bus.endpoint(subjects.AUDIT_CHECKPOINT_GET, Page, checkpoint)
    bus.endpoint(subjects.AUDIT_PROOF_INCLUSION, AskInclusion, trail.inclusion)
    bus.endpoint(subjects.AUDIT_PROOF_CONSISTENCY, AskConsistency, trail.consistency)


class StreamSource:
    """The stream AUDIT through the durable consumer; the database, not the consumer, knows the position."""

    def __init__(self, bus: Bus, batches: int, max_ack_pending: int) -> None:
        self._bus = bus
        self._batches = batches
        self._config = ConsumerConfig(
            durable_name=CONSUMER,
            description="the writer of the tamper-evident record",
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_SECONDS,
            max_ack_pending=max(batches, max_ack_pending),
        )
        self._bound: tuple[Client, JetStreamContext.PullSubscription] | None = None
        self._fetching = asyncio.Lock()
        self._few = False
        self._recoveries = itertools.count(1)
        bus.on_connected(self._let_go)

    async def state(self) -> StreamState:
        """Look the stream up, and make sure of the consumer."""
        async with self._connection():
            info = await self._bus.js.stream_info(AUDIT.name)
            await self._add_consumer(self._config)
        return StreamState(str(info.created or ""), info.state.first_seq, info.state.last_seq)

    async def fetch(self) -> list[Delivery]:
        if self._few:
            await asyncio.sleep(_GATHER_SECONDS)
        self._few = False
        async with self._fetching, self._connection() as client:
            if self._bound is None or self._bound[0] is not client:
                await self._unbind()
                self._bound = client, await self._bus.js.pull_subscribe_bind(CONSUMER, AUDIT.name)
            try:
                messages = await self._bound[1].fetch(self._batches, timeout=_FETCH_SECONDS)
            except TimeoutError:
                return []
        self._few = len(messages) < self._batches
        return [_delivery(message) for message in messages]

    async def _let_go(self) -> None:
        """Leave a connection that is being replaced: what is unread on it would hold up its end for 30 s."""
        async with self._fetching:
            await self._unbind()

    async def _unbind(self) -> None:
        bound, self._bound = self._bound, None
        if bound is not None:
            with contextlib.suppress(NatsError):
                await bound[1].unsubscribe()

    async def recover(self, first: int, before: int) -> tuple[list[Delivery], bool]:
        """Read through a consumer of the moment, which the server forgets by itself."""
        name = f"audit-recovery-{self._bus.instance}-{next(self._recoveries)}"
        config = ConsumerConfig(
            name=name,
            description="looks up what the writer missed",
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=first,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_RECOVER_SECONDS * 2,
            mem_storage=True,
        )
        async with self._connection():
            await self._add_consumer(config)
            subscription = await self._bus.js.pull_subscribe_bind(name, AUDIT.name)
            try:
                messages = await subscription.fetch(self._batches, timeout=_RECOVER_SECONDS)
            except TimeoutError:
                return [], False
            finally:
                await subscription.unsubscribe()
        found = [_delivery(message) for message in messages]
        complete = found[-1].sequence >= before - 1
        return [delivery for delivery in found if delivery.sequence < before], complete

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the consumer; what does not arrive is delivered again and skipped."""
        async with self._connection() as client:
            for delivery in deliveries:
                await client.publish(delivery.reply, b"+ACK")

    async def lag(self) -> int:
        async with self._connection():
            info = await self._bus.js.consumer_info(AUDIT.name, CONSUMER)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def _add_consumer(self, config: ConsumerConfig) -> None:
        await self._bus.js.add_consumer(AUDIT.name, config)  # pyright: ignore[reportUnknownMemberType] - untyped **params

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Client]:
        try:
            async with self._bus.lease() as client:
                yield client
        except (NatsError, APIError, TimeoutError, OSError) as error:
            raise Unavailable(f"the stream {AUDIT.name} cannot be read: {type(error).__name__}") from error


class Announcer:
    """Publishes what the writer signed."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def __call__(self, row: CheckpointRow) -> None:
        try:
            await self._bus.publish_event(subjects.EVT_CHECKPOINT_SIGNED, Checkpoint(row.note, row.verifier_key))
        except NatsError as error:
            raise Unavailable(f"the checkpoint was not announced: {type(error).__name__}") from error


def _delivery(message: Msg) -> Delivery:
    metadata = message.metadata
    return Delivery(
        sequence=metadata.sequence.stream,
        subject=message.subject,
        message_id=(message.headers or {}).get(_MESSAGE_ID, ""),
        data=message.data,
        at=int(metadata.timestamp.timestamp() * 1000),
        reply=message.reply,
    )
