"""All SQL of audit. Whoever calls opens the transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_audit.batches import Entry
from interlock_audit.errors import LeaseLost
from interlock_audit.models import AuthorRow, CheckpointRow, LeaseRow, NodeRow, PositionRow, RecordRow
from interlock_common.messages.audit import ListRecords
from interlock_common.transparency.tiles import WIDTH, Tile

_POSITION = 1
_CHUNK = 500  # keys in one IN list


@dataclass(frozen=True)
class Position:
    """How far the tree is, and the stream in it."""

    tree_size: int = 0
    stream_sequence: int = 0
    stream_created: str = ""


@dataclass(frozen=True)
class Lease:
    """The right to write, as it was taken."""

    name: str
    holder: str
    epoch: int


class Store:
    """The queries of one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # the lease

    async def take_lease(self, name: str, holder: str, now: float, expires_at: float) -> Lease | None:
        """Take the lease when nobody holds it; None while someone else does."""
        taken = await self._session.execute(
            update(LeaseRow)
            .where(LeaseRow.name == name, (LeaseRow.expires_at <= now) | (LeaseRow.holder == holder))
            .values(holder=holder, expires_at=expires_at, epoch=LeaseRow.epoch + 1)
            .returning(LeaseRow.epoch)
        )
        epoch = taken.scalar_one_or_none()
        if epoch is not None:
            return Lease(name, holder, epoch)
        if await self._session.get(LeaseRow, name) is not None:
            return None
        await self._session.execute(insert(LeaseRow).values(name=name, holder=holder, epoch=1, expires_at=expires_at))
        return Lease(name, holder, 1)

    async def renew_lease(self, lease: Lease, expires_at: float) -> None:
        """Extend the lease and lock its row, which fences off every other writer until the commit."""
        renewed = await self._session.execute(
            update(LeaseRow)
            .where(LeaseRow.name == lease.name, LeaseRow.holder == lease.holder, LeaseRow.epoch == lease.epoch)
            .values(expires_at=expires_at)
            .returning(LeaseRow.epoch)
        )
        if renewed.scalar_one_or_none() is None:
            raise LeaseLost(f"the lease {lease.name} went to another process")

    async def release_lease(self, lease: Lease) -> None:
        await self._session.execute(
            update(LeaseRow)
            .where(LeaseRow.name == lease.name, LeaseRow.holder == lease.holder, LeaseRow.epoch == lease.epoch)
            .values(expires_at=0.0)
        )

    # the tree

    async def position(self) -> Position:
        row = await self._session.get(PositionRow, _POSITION)
        return Position() if row is None else Position(row.tree_size, row.stream_sequence, row.stream_created)

    async def set_position(self, position: Position) -> None:
        await self._session.merge(PositionRow(
            id=_POSITION, tree_size=position.tree_size,
            stream_sequence=position.stream_sequence, stream_created=position.stream_created,
        ))  # fmt: skip
        await self._session.flush()

    async def append(self, start: int, entries: Sequence[Entry], hashes: Sequence[bytes]) -> None:
        """Store the records from index ``start`` on."""
        rows = [
            {
                "tree_index": start + offset, "id": entry.id, "kind": entry.kind, "service": entry.service,
                "principal": entry.principal, "method": entry.method, "tool": entry.tool,
                "trace_id": entry.trace_id, "at": entry.at, "stream_sequence": entry.stream_sequence,
                "author": entry.author, "author_batch": entry.author_batch,
                "leaf": entry.leaf, "leaf_hash": hashed,
            }
            for offset, (entry, hashed) in enumerate(zip(entries, hashes, strict=True))
        ]  # fmt: skip
        if rows:
            await self._session.execute(insert(RecordRow), rows)

    async def add_nodes(self, nodes: Iterable[tuple[int, int, bytes]]) -> None:
        rows = [{"level": level, "position": position, "hash": hashed} for level, position, hashed in nodes]
        if rows:
            await self._session.execute(insert(NodeRow), rows)

    async def tile(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile, as many as its width says."""
        low = tile.number * WIDTH
        if tile.level == 0:
            query = select(RecordRow.leaf_hash).where(RecordRow.tree_index >= low)
            query = query.where(RecordRow.tree_index < low + tile.width).order_by(RecordRow.tree_index)
        else:
            query = select(NodeRow.hash).where(NodeRow.level == tile.level, NodeRow.position >= low)
            query = query.where(NodeRow.position < low + tile.width).order_by(NodeRow.position)
        return list(await self._session.scalars(query))

    async def leaves(self, low: int, high: int) -> list[bytes]:
        """The bytes of leaves ``[low, high)``."""
        query = select(RecordRow.leaf).where(RecordRow.tree_index >= low, RecordRow.tree_index < high)
        return list(await self._session.scalars(query.order_by(RecordRow.tree_index)))

    # authors and intents

    async def last_batches(self, authors: Iterable[str]) -> dict[str, int]:
        wanted = list(authors)
        rows = await self._session.execute(
            select(AuthorRow.author, AuthorRow.last_batch).where(AuthorRow.author.in_(wanted))
        )
        return {author: last for author, last in rows}  # noqa: C416 - rows are no pairs to a type checker

    async def set_last_batches(self, changed: dict[str, int]) -> None:
        for author, last in changed.items():
            await self._session.merge(AuthorRow(author=author, last_batch=last))
        await self._session.flush()

    async def batch_leaves(self, author: str, number: int) -> list[bytes]:
        """The leaves that an author's batch left in the tree."""
        query = select(RecordRow.leaf).where(RecordRow.author == author, RecordRow.author_batch == number)
        return list(await self._session.scalars(query.order_by(RecordRow.tree_index)))

    async def intents(self, ids: Iterable[str]) -> dict[tuple[str, str], tuple[str, str, str]]:
        """Principal, method and tool of intents, by service and id."""
        wanted = list(ids)
        found: dict[tuple[str, str], tuple[str, str, str]] = {}
        for at in range(0, len(wanted), _CHUNK):
            rows = await self._session.execute(
                select(RecordRow.service, RecordRow.id, RecordRow.principal, RecordRow.method, RecordRow.tool)
                .where(RecordRow.id.in_(wanted[at : at + _CHUNK]), RecordRow.kind == "call.intent")
            )  # fmt: skip
            for service, record_id, principal, method, tool in rows:
                found.setdefault((service, record_id), (principal, method, tool))
        return found

    # reading

    async def record(self, record_id: str) -> RecordRow | None:
        """The first record with this id: a later one that claims the same id does not hide it."""
        query = select(RecordRow).where(RecordRow.id == record_id).order_by(RecordRow.tree_index).limit(1)
        return await self._session.scalar(query)

    async def records(self, wanted: ListRecords, limit: int) -> list[tuple[int, str, bytes]]:
        """Index, id and leaf: from ``after`` on, oldest first, or else newest first."""
        query = select(RecordRow.tree_index, RecordRow.id, RecordRow.leaf).limit(limit)
        for column, value in (
            (RecordRow.principal, wanted.principal),
            (RecordRow.kind, wanted.kind),
            (RecordRow.trace_id, wanted.trace_id),
        ):
            if value is not None:
                query = query.where(column == value)
        if wanted.before is not None:
            query = query.where(RecordRow.tree_index < wanted.before)
        if wanted.after is not None:
            query = query.where(RecordRow.tree_index >= wanted.after).order_by(RecordRow.tree_index)
        else:
            query = query.order_by(RecordRow.tree_index.desc())
        return [(index, record_id, leaf) for index, record_id, leaf in await self._session.execute(query)]

    # checkpoints

    async def newest_checkpoint(self) -> CheckpointRow | None:
        return await self._session.scalar(select(CheckpointRow).order_by(CheckpointRow.tree_size.desc()).limit(1))

    async def add_checkpoint(self, row: CheckpointRow) -> None:
        self._session.add(row)
        await self._session.flush()
