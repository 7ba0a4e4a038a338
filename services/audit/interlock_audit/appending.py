"""Appending: each delivered batch once, in stream order, with a record for everything that is missing."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit import batches, tree
from interlock_audit.batches import Delivery, Entry
from interlock_audit.store import Lease, Position, Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.transparency.merkle import Frontier, leaf_hash
from interlock_common.transparency.tiles import HEIGHT


@dataclass(frozen=True)
class StreamState:
    """What the stream is and holds: when it was created, its first and last sequence."""

    created: str
    first: int
    last: int


class Appender:
    """The tree while this process holds the lease: the frontier in memory, everything else in the database."""

    def __init__(self, engine: AsyncEngine, lease: Lease, lease_seconds: float, clock: Clock) -> None:
        self._engine = engine
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._clock = clock
        self.position = Position()
        self.frontier = Frontier()

    async def restore(self) -> None:
        """Read position and frontier back."""
        async with transaction(self._engine) as session:
            store = Store(session)
            self.position = await store.position()
            self.frontier = await tree.frontier(store, self.position.tree_size)

    async def attach(self, stream: StreamState) -> None:
        """Note which stream the sequences are of; one that was replaced or lost its end begins anew."""
        position = self.position
        same = position.stream_created in {"", stream.created}
        if same and stream.last >= position.stream_sequence:
            if not position.stream_created:
                await self._commit([], replace(position, stream_created=stream.created))
            return
        what = "stream.rewound" if same else "stream.replaced"
        detail = {"after": position.stream_sequence, "last": stream.last, "created": stream.created}
        record = batches.action(what, "AUDIT", self._now(), detail)
        start = max(0, stream.first - 1) if same else 0
        await self._commit([record], replace(position, stream_sequence=start, stream_created=stream.created))

    async def append(self, deliveries: Sequence[Delivery]) -> list[Entry]:
        """Store what was not stored yet, in one transaction; answers the new records.

        A sequence missing before or between the deliveries counts as lost: the caller has made sure of it.
        """
        fresh = [delivery for delivery in deliveries if delivery.sequence > self.position.stream_sequence]
        if not fresh:
            return []
        async with transaction(self._engine) as session:
            reading = Batches(Store(session), self._now())
            entries = await reading.read(fresh, self.position.stream_sequence)
        position = replace(self.position, stream_sequence=fresh[-1].sequence)
        await self._commit(entries, position, reading.last)
        return entries

    async def _commit(self, entries: list[Entry], position: Position, authors: dict[str, int] | None = None) -> None:
        frontier = self.frontier.copy()
        start = frontier.size
        hashes = [leaf_hash(entry.leaf) for entry in entries]
        nodes = [
            (node.height // HEIGHT, node.number, node.hash)
            for hashed in hashes
            for node in frontier.append(hashed)
            if node.height % HEIGHT == 0
        ]
        position = replace(position, tree_size=frontier.size)
        async with transaction(self._engine) as session:
            store = Store(session)
            await store.renew_lease(self._lease, self._clock.time() + self._lease_seconds)
            await store.append(start, entries, hashes)
            await store.add_nodes(nodes)
            await store.set_last_batches(authors or {})
            await store.set_position(position)
        self.position, self.frontier = position, frontier

    def _now(self) -> int:
        return int(self._clock.time() * 1000)


class Batches:
    """Reads deliveries into records, naming what is missing and leaving out what is there already."""

    def __init__(self, store: Store, now: int) -> None:
        self._store = store
        self._now = now
        self.last: dict[str, int] = {}
        self._read: dict[tuple[str, int], list[bytes]] = {}

    async def read(self, deliveries: Sequence[Delivery], after: int) -> list[Entry]:
        self.last = await self._store.last_batches({author for author, _ in map(batches.author_of, deliveries)})
        entries: list[Entry] = []
        for delivery in deliveries:
            if delivery.sequence > after + 1:
                entries.append(batches.gap(after + 1, delivery.sequence - 1, self._now))
            after = delivery.sequence
            entries += await self._batch(delivery)
        await self._inherit(entries)
        return entries

    async def _batch(self, delivery: Delivery) -> list[Entry]:
        author, number = batches.author_of(delivery)
        entries = batches.entries_of(delivery)
        if not author:
            return entries
        leaves = [entry.leaf for entry in entries]
        last = self.last.get(author, 0)
        if number <= last:
            # Sent again after the stream forgot the first time, or late: the content tells which.
            known = self._read.get((author, number)) or await self._store.batch_leaves(author, number)
            return [] if known == leaves else entries
        self._read[author, number] = leaves
        self.last[author] = number
        if number > last + 1:
            entries.insert(0, batches.gap(last + 1, number - 1, self._now, author))
        return entries

    async def _inherit(self, entries: list[Entry]) -> None:
        """Outcomes are found by the principal, method and tool of their intents, of the same service only."""
        known = {
            (entry.service, entry.id): (entry.principal, entry.method, entry.tool)
            for entry in entries
            if entry.kind == "call.intent"
        }
        missing = {
            e.intent for e in entries if e.intent and (e.service, e.intent) not in known and "\0" not in e.intent
        }
        known = await self._store.intents(missing) | known if missing else known
        for entry in entries:
            if entry.intent and (found := known.get((entry.service, entry.intent))) is not None:
                entry.principal, entry.method, entry.tool = found


def new_holder() -> str:
    """A name for this process in the lease."""
    return uuid.uuid4().hex
