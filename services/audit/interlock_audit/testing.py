"""Fakes for tests of audit: a stream in memory, and a log on a real database and real files."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit.appending import StreamState
from interlock_audit.batches import Delivery
from interlock_audit.models import CheckpointRow
from interlock_audit.tile_files import TileFiles
from interlock_audit.writer import Writer, WriterRules
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import Unavailable
from interlock_common.messages.audit import CallIntent, CallOutcome

ORIGIN = "interlock/test/audit"


def intent(number: int, principal: str = "ann@example.com") -> CallIntent:
    return CallIntent(
        id=f"i{number}", at=1_000 + number, principal=principal, method="tools/call", tool="echo", upstream="u1"
    )


def outcome(number: int) -> CallOutcome:
    return CallOutcome(id=f"o{number}", at=2_000 + number, intent=f"i{number}", outcome="ok", ms=1.5)


def batch(
    sequence: int, *records: msgspec.Struct | bytes, number: int | None = None, author: str = "gateway-a"
) -> Delivery:
    lines = [record if isinstance(record, bytes) else msgspec.json.encode(record) for record in records]
    return Delivery(
        sequence=sequence,
        subject="audit.gateway",
        message_id=f"{author}/{sequence if number is None else number}",
        data=b"\n".join(lines),
        at=5_000,
        reply=f"ack.{sequence}",
    )


@dataclass
class FakeStream:
    """A stream in memory with one durable consumer; ``hide`` keeps a message from the consumer, ``lose`` from all."""

    held: dict[int, Delivery] = field(default_factory=dict[int, Delivery])
    pending: list[int] = field(default_factory=list[int])
    acknowledged: list[int] = field(default_factory=list[int])
    created: str = "first"
    limit: int = 64
    away: bool = False
    idle: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, *deliveries: Delivery, hide: bool = False) -> None:
        for delivery in deliveries:
            self.held[delivery.sequence] = delivery
            if not hide:
                self.pending.append(delivery.sequence)
        self.arrived.set()

    def redeliver(self, *sequences: int) -> None:
        self.pending += sequences
        self.arrived.set()

    async def state(self) -> StreamState:
        self._check()
        return StreamState(self.created, min(self.held, default=1), max(self.held, default=0))

    async def fetch(self) -> list[Delivery]:
        self._check()
        if not self.pending and not self.idle:
            self.arrived.clear()
            await self.arrived.wait()
            self._check()
        self.idle = False
        taken, self.pending = self.pending[: self.limit], self.pending[self.limit :]
        return [self.held[sequence] for sequence in taken]

    async def recover(self, first: int, before: int) -> tuple[list[Delivery], bool]:
        self._check()
        found = [self.held[sequence] for sequence in sorted(self.held) if sequence >= first][: self.limit]
        if not found:
            return [], False
        complete = found[-1].sequence >= before - 1
        return [delivery for delivery in found if delivery.sequence < before], complete

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self.acknowledged += [delivery.sequence for delivery in deliveries]

    async def lag(self) -> int:
        return len(self.held) - len(set(self.acknowledged))

    def swallow(self) -> None:
        """Let the consumer deliver what waits to a connection that is gone."""
        self.pending = []
        self.idle = True
        self.arrived.set()

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the bus is away")


@dataclass
class Log:
    """An audit log without a bus: real database, real files, a stream in memory."""

    engine: AsyncEngine
    directory: Path
    stream: FakeStream = field(default_factory=FakeStream)
    signed: asyncio.Queue[CheckpointRow] = field(default_factory=asyncio.Queue[CheckpointRow])

    @property
    def tiles(self) -> Path:
        return self.directory / "tiles"

    def writer(self) -> Writer:
        rules = WriterRules(self.directory / "keys", ORIGIN, lease_seconds=1.0, checkpoint_interval=0.01)
        return Writer(self.engine, self.stream, TileFiles(self.tiles), rules, SYSTEM_CLOCK, self.signed.put)

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[Writer]:
        writer = self.writer()
        task = asyncio.create_task(writer.run())
        try:
            yield writer
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # any other end of the writer is a failure of the test
                await task

    async def until_signed(self, size: int) -> CheckpointRow:
        """Wait for the checkpoint over ``size`` records."""
        async with asyncio.timeout(10):
            while (row := await self.signed.get()).tree_size != size:
                pass
        return row
