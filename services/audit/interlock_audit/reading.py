"""Reading the trail: records, checkpoints and proofs, for those who may."""

import base64

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit import tree
from interlock_audit.errors import NoCheckpoint, NoSuchTree, NotYetSigned, ReadingDenied, RecordNotFound
from interlock_audit.models import CheckpointRow, RecordRow
from interlock_audit.store import Store
from interlock_common.database import transaction
from interlock_common.messages.audit import (
    AskConsistency,
    AskInclusion,
    Checkpoint,
    ConsistencyProof,
    InclusionProof,
    ListRecords,
    RecordList,
    StoredRecord,
)
from interlock_common.messages.common import Actor, ById
from interlock_common.transparency.merkle import consistency_ranges, inclusion_ranges

PERMISSION = "admin.security_audit"
MAX_PAGE = 1000
_PAGE_BYTES = 700 * 1024  # a reply on the bus has at most 1 MiB


class Trail:
    """Answers from the database, in any process of the service."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def list(self, wanted: ListRecords) -> RecordList:
        """A page, shorter than asked when the records are large; there is more until a page is empty."""
        _require_reader(wanted.actor)
        async with transaction(self._engine) as session:
            store = Store(session)
            size = (await store.position()).tree_size
            found = await store.records(wanted, max(1, min(wanted.limit, MAX_PAGE)))
        page: list[StoredRecord] = []
        room = _PAGE_BYTES
        for index, record_id, leaf in found:
            record = _stored(index, record_id, leaf)
            room -= len(msgspec.json.encode(record))
            if page and room < 0:
                break
            page.append(record)
        return RecordList(tuple(page), size)

    async def get(self, wanted: ById) -> StoredRecord:
        """A record, also for the principal whose own it is."""
        async with transaction(self._engine) as session:
            row = await _own_or_any(Store(session), wanted.actor, wanted.id)
        return _stored(row.tree_index, row.id, row.leaf)

    async def checkpoint(self, actor: Actor) -> Checkpoint:
        """The newest signed checkpoint."""
        _require_reader(actor)
        async with transaction(self._engine) as session:
            row = await _newest(Store(session))
        return Checkpoint(row.note, row.verifier_key)

    async def inclusion(self, wanted: AskInclusion) -> InclusionProof:
        """The proof that a record is in the tree of ``tree_size``, also for the principal whose own it is."""
        async with transaction(self._engine) as session:
            store = Store(session)
            row = await _own_or_any(store, wanted.actor, wanted.id)
            newest = await _newest(store)
            size = newest.tree_size if wanted.tree_size is None else wanted.tree_size
            if size > newest.tree_size:
                raise NoSuchTree(f"no checkpoint has {size} records yet", newest=newest.tree_size)
            if row.tree_index >= size:
                if wanted.tree_size is None:
                    raise NotYetSigned("the record is stored, the next checkpoint will cover it", index=row.tree_index)
                raise NoSuchTree(f"record {row.tree_index} is not in a tree of {size}", index=row.tree_index)
            hashes = await tree.hashes(store, inclusion_ranges(row.tree_index, size), size)
        record = _stored(row.tree_index, row.id, row.leaf)
        return InclusionProof(record, size, hashes, Checkpoint(newest.note, newest.verifier_key))

    async def consistency(self, wanted: AskConsistency) -> ConsistencyProof:
        """The proof that an old tree is a prefix of a newer one, both signed or between signed ones."""
        _require_reader(wanted.actor)
        async with transaction(self._engine) as session:
            store = Store(session)
            signed = (await _newest(store)).tree_size
            if not 0 <= wanted.old_size <= wanted.new_size <= signed:
                raise NoSuchTree("sizes must grow and not pass the newest checkpoint", newest=signed)
            ranges = consistency_ranges(wanted.old_size, wanted.new_size)
            hashes = await tree.hashes(store, ranges, wanted.new_size)
        return ConsistencyProof(wanted.old_size, wanted.new_size, hashes)


def _is_reader(actor: Actor) -> bool:
    return actor.is_admin or PERMISSION in actor.permissions


def _require_reader(actor: Actor) -> None:
    if not _is_reader(actor):
        raise ReadingDenied(f"reading the audit trail needs the permission {PERMISSION}")


async def _own_or_any(store: Store, actor: Actor, record_id: str) -> RecordRow:
    """The record, if the actor may see it; others do not learn whether it exists."""
    row = await store.record(record_id)
    if not _is_reader(actor) and (row is None or not actor.principal or row.principal != actor.principal):
        raise ReadingDenied(f"a record of someone else needs the permission {PERMISSION}")
    if row is None:
        raise RecordNotFound("no record has this id")
    return row


async def _newest(store: Store) -> CheckpointRow:
    row = await store.newest_checkpoint()
    if row is None:
        raise NoCheckpoint("no checkpoint was signed yet")
    return row


def _stored(index: int, record_id: str, leaf: bytes) -> StoredRecord:
    try:
        return StoredRecord(index, record_id, leaf.decode())
    except UnicodeDecodeError:
        return StoredRecord(index, record_id, base64.b64encode(leaf).decode(), base64=True)
