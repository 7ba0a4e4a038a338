"""The writer: holds the lease, takes batches from the stream into the tree, signs each second."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit.appending import Appender, StreamState, new_holder
from interlock_audit.batches import Delivery, Entry
from interlock_audit.errors import LeaseLost
from interlock_audit.models import CheckpointRow
from interlock_audit.signing import Checkpoints
from interlock_audit.store import Lease, Store
from interlock_audit.tile_files import TileFiles
from interlock_common import telemetry
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import ConfigurationError, InterlockError, Unavailable

_log = structlog.get_logger()
_LEASE = "writer"
_RETRY_SECONDS = 1.0
_HALTED_SECONDS = 15.0
_FAILURES = (SQLAlchemyError, OSError, InterlockError)
_UNSIGNED_SECONDS = 10.0
_RECORDS_METRIC = "interlock.audit.records"
_LAG_METRIC = "interlock.audit.lag"
_KIND_ATTRIBUTE = "interlock.audit.kind"

type Announce = Callable[[CheckpointRow], Awaitable[None]]


class Source(Protocol):
    """Where batches come from: the stream, through a durable consumer."""

    async def state(self) -> StreamState: ...

    async def fetch(self) -> list[Delivery]:
        """The next deliveries by sequence; empty when there was none for a while."""
        ...

    async def recover(self, first: int, before: int) -> tuple[list[Delivery], bool]:
        """What the stream has from ``first`` on, below ``before``; True when that is all it has there."""
        ...

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None: ...

    async def lag(self) -> int:
        """How many batches wait."""
        ...


@dataclass(frozen=True)
class WriterRules:
    """How the writer behaves."""

    key_dir: Path
    origin: str
    lease_seconds: float = 10.0
    checkpoint_interval: float = 1.0
    max_lag: int = 10_000


class Writer:
    """One of possibly several; only the holder of the lease does anything."""

    def __init__(
        self,
        engine: AsyncEngine,
        source: Source,
        tiles: TileFiles,
        rules: WriterRules,
        clock: Clock,
        announce: Announce,
    ) -> None:
        self._engine = engine
        self._source = source
        self._tiles = tiles
        self._rules = rules
        self._clock = clock
        self._announce = announce
        self.holder = new_holder()
        self._tracing = telemetry.exporting()
        meter = telemetry.meter()
        self._appended = meter.create_counter(_RECORDS_METRIC, "{record}", "records appended to the tree")
        self._lag_gauge = meter.create_gauge(_LAG_METRIC, "{batch}", "batches in the stream not yet appended")
        self.holds_lease = False
        self.lag = 0
        self.failure: str | None = "not started"
        self.source_failure: str | None = None
        self.unsigned_since: float | None = None

    def problem(self) -> str | None:
        """Why the log does not grow as it should, for health checks."""
        since = self.unsigned_since
        if self.holds_lease and since is not None and self._clock.monotonic() - since > _UNSIGNED_SECONDS:
            return f"records have been waiting for a checkpoint for more than {_UNSIGNED_SECONDS:g} s"
        if self.lag > self._rules.max_lag:
            return f"{self.lag} batches wait in the stream"
        return self.failure or self.source_failure

    async def run(self) -> None:
        """Write for ever; whatever fails is tried again from the database's truth."""
        while True:
            lease = await self._take_lease()
            if lease is None:
                await self._clock.sleep(self._rules.lease_seconds / 3)
                continue
            wait = _RETRY_SECONDS
            try:
                await self._write(lease)
            except* ConfigurationError as group:
                wait = _HALTED_SECONDS
                self._failed("nothing is written until a person looked", group)
            except* _FAILURES as group:
                self._failed("writing was interrupted and starts over", group)
            finally:
                self.holds_lease = False
                await self._release(lease)
            await self._clock.sleep(wait)

    async def _write(self, lease: Lease) -> None:
        rules = self._rules
        appender = Appender(self._engine, lease, rules.lease_seconds, self._clock)
        await appender.restore()
        checkpoints = Checkpoints(self._engine, self._tiles, lease, rules.lease_seconds, self._clock)
        await checkpoints.open(rules.key_dir, rules.origin, appender.position.tree_size)
        self.holds_lease, self.failure = True, None
        _log.info("writing the audit log", tree_size=appender.position.tree_size, epoch=lease.epoch)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._consume(appender), name="audit append")
            group.create_task(self._sign(appender, checkpoints), name="audit checkpoints")
            group.create_task(self._hold(lease), name="audit lease")

    async def _consume(self, appender: Appender) -> None:
        while True:
            try:
                await self._follow(appender)
            except LeaseLost:
                raise
            except Unavailable as error:  # the bus is away or was replaced: look again what it is
                self.source_failure = error.detail
                _log.warning("the stream cannot be read", reason=error.detail)
                await self._clock.sleep(_RETRY_SECONDS)

    async def _follow(self, appender: Appender) -> None:
        stream = await self._source.state()
        await appender.attach(stream)
        await self._recover(appender, stream.last + 1)
        self.source_failure = None
        while True:
            fetched = await self._source.fetch()
            for run in contiguous(fetched):
                await self._take(appender, run)
            if not fetched and await self._source.lag():
                # Delivered to a connection that is gone: the stream has it now, the consumer only after a while.
                await self._recover(appender, (await self._source.state()).last + 1)

    async def _take(self, appender: Appender, run: list[Delivery]) -> None:
        """Append a run of deliveries; what is missing before it is looked up before it counts as lost."""
        before = run[0].sequence
        if before > appender.position.stream_sequence + 1 and not await self._recover(appender, before):
            raise Unavailable(f"the stream does not tell what it has before sequence {before}")
        self._note(await appender.append(run))
        await self._source.acknowledge(run)

    async def _recover(self, appender: Appender, before: int) -> bool:
        """Append what the stream still has below ``before``; whether that is known to be all."""
        while (first := appender.position.stream_sequence + 1) < before:
            found, complete = await self._source.recover(first, before)
            if found:
                self._note(await appender.append(found))
            if complete or not found:
                return complete
        return True

    async def _sign(self, appender: Appender, checkpoints: Checkpoints) -> None:
        while True:
            if (row := await checkpoints.sign(appender)) is not None:
                with contextlib.suppress(Unavailable):  # the event is news, the checkpoint is stored
                    await self._announce(row)
            grown = appender.frontier.size > checkpoints.signed_size
            self.unsigned_since = (self.unsigned_since or self._clock.monotonic()) if grown else None
            await self._clock.sleep(self._rules.checkpoint_interval)

    async def _hold(self, lease: Lease) -> None:
        while True:
            await self._clock.sleep(self._rules.lease_seconds / 3)
            async with transaction(self._engine) as session:
                await Store(session).renew_lease(lease, self._clock.time() + self._rules.lease_seconds)
            with contextlib.suppress(Unavailable):
                self.lag = await self._source.lag()
                self._lag_gauge.set(self.lag)

    async def _take_lease(self) -> Lease | None:
        now = self._clock.time()
        try:
            async with transaction(self._engine) as session:
                lease = await Store(session).take_lease(_LEASE, self.holder, now, now + self._rules.lease_seconds)
        except (SQLAlchemyError, OSError) as error:
            self.failure = f"the database cannot be used: {type(error).__name__}"
            _log.warning("the lease cannot be asked for", error=type(error).__name__)
            return None
        if lease is None:
            self.failure = None  # a standby is well
        return lease

    async def _release(self, lease: Lease) -> None:
        try:
            async with transaction(self._engine) as session:
                await Store(session).release_lease(lease)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("the lease was not given back, it expires", error=type(error).__name__)

    def _note(self, entries: Sequence[Entry]) -> None:
        self._appended.add(len(entries))
        for entry in entries:
            if entry.kind in {"gap", "malformed", "oversize"}:
                _log.warning("audit record out of the ordinary", kind=entry.kind, record=entry.id, by=entry.service)
            if self._tracing and entry.span_id:
                parent = telemetry.remote_context(entry.trace_id, entry.span_id)
                attributes = {telemetry.RECORD_ID: entry.id, _KIND_ATTRIBUTE: entry.kind}
                telemetry.tracer().start_span("audit append", parent, SpanKind.CONSUMER, attributes).end()

    def _failed(self, what: str, group: BaseExceptionGroup[Exception]) -> None:
        errors = _leaves(group)
        reasons = [error.detail if isinstance(error, InterlockError) else type(error).__name__ for error in errors]
        self.failure = "; ".join(reasons)
        _log.error(what, reasons=reasons)


def contiguous(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    """Runs of deliveries without a jump, by sequence, each sequence once."""
    ordered = sorted({delivery.sequence: delivery for delivery in deliveries}.values(), key=lambda d: d.sequence)
    runs = [ordered[:1]] if ordered else []
    for before, delivery in pairwise(ordered):
        if delivery.sequence == before.sequence + 1:
            runs[-1].append(delivery)
        else:
            runs.append([delivery])
    return runs


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found += _leaves(error)
        else:
            found.append(error)
    return found
