"""Reading: who may, what comes back, and proofs that hold against the signed root."""

import msgspec
import pytest

from interlock_audit.errors import NoCheckpoint, NoSuchTree, NotYetSigned, ReadingDenied, RecordNotFound
from interlock_audit.models import RecordRow
from interlock_audit.reading import PERMISSION, Trail
from interlock_audit.testing import Log, batch, intent, outcome
from interlock_common.database import transaction
from interlock_common.messages.audit import AskConsistency, AskInclusion, ListRecords
from interlock_common.messages.common import Actor, ById
from interlock_common.transparency.merkle import leaf_hash, verify_consistency, verify_inclusion
from interlock_common.transparency.note import Verifier, open_checkpoint

ADMIN = Actor("admin@example.com", is_admin=True)
AUDITOR = Actor("audit@example.com", permissions=(PERMISSION,))
ANN = Actor("ann@example.com")
BOB = Actor("bob@example.com", permissions=("*", "tools.execute"))


@pytest.fixture
async def trail(log: Log) -> Trail:
    """Two signed trees: of 300 and of 401 records."""
    log.stream.publish(batch(1, *(intent(n) for n in range(300))))
    async with log.writing():
        await log.until_signed(300)
        log.stream.publish(batch(2, *(intent(n) for n in range(300, 400)), outcome(7)))
        await log.until_signed(401)
    return Trail(log.engine)


async def test_only_readers_read_what_is_not_theirs(trail: Trail) -> None:
    for reader in (ADMIN, AUDITOR):
        assert (await trail.list(ListRecords(reader, limit=1))).tree_size == 401
        await trail.get(ById(reader, "i1"))
        await trail.checkpoint(reader)
    for actor in (ANN, BOB):
        with pytest.raises(ReadingDenied):
            await trail.list(ListRecords(actor))
        with pytest.raises(ReadingDenied):
            await trail.checkpoint(actor)
        with pytest.raises(ReadingDenied):
            await trail.consistency(AskConsistency(actor, 1, 2))
    for asked in ("i1", "no such record"):
        with pytest.raises(ReadingDenied):
            await trail.get(ById(BOB, asked))
        with pytest.raises(ReadingDenied):
            await trail.inclusion(AskInclusion(BOB, asked))


async def test_a_caller_reads_and_proves_what_is_its_own(trail: Trail) -> None:
    record = await trail.get(ById(ANN, "o7"))
    assert record.leaf.encode() == msgspec.json.encode(outcome(7))
    assert (await trail.inclusion(AskInclusion(ANN, "i7"))).record.index == 7
    with pytest.raises(ReadingDenied):
        await trail.get(ById(Actor(""), "i7"))


async def test_lists_go_back_from_the_newest_and_forward_from_an_index(trail: Trail) -> None:
    newest = (await trail.list(ListRecords(ADMIN, limit=2))).records
    assert [record.index for record in newest] == [400, 399]
    older = (await trail.list(ListRecords(ADMIN, limit=2, before=399))).records
    assert [record.index for record in older] == [398, 397]
    following = (await trail.list(ListRecords(ADMIN, limit=3, after=399))).records
    assert [record.index for record in following] == [399, 400]
    assert (await trail.list(ListRecords(ADMIN, after=401))).records == ()
    only = (await trail.list(ListRecords(ADMIN, kind="call.outcome"))).records
    assert [record.id for record in only] == ["o7"]
    assert (await trail.list(ListRecords(ADMIN, principal="bob@example.com"))).records == ()


async def test_a_page_fits_into_a_message_of_the_bus(log: Log) -> None:
    log.stream.publish(batch(1, *(b'"' + bytes([97 + n]) * 60_000 + b'"' for n in range(20))))
    async with log.writing():
        await log.until_signed(20)
    page = await Trail(log.engine).list(ListRecords(ADMIN, after=0, limit=20))
    assert 1 < len(page.records) < 20
    assert len(msgspec.json.encode(page)) < 1024 * 1024


async def test_bytes_that_are_no_text_come_back_exactly(log: Log) -> None:
    log.stream.publish(batch(1, b"\xff\x00\xfe"))
    async with log.writing():
        await log.until_signed(1)
    (record,) = (await Trail(log.engine).list(ListRecords(ADMIN))).records
    assert (record.leaf, record.base64) == ("/wD+", True)


async def test_inclusion_proofs_hold_for_any_signed_size(trail: Trail) -> None:
    roots: dict[int, bytes] = {}
    for name in ("i0", "i255", "i256", "i299", "o7"):
        proof = await trail.inclusion(AskInclusion(ADMIN, name))
        head = open_checkpoint(proof.checkpoint.note, Verifier.parse(proof.checkpoint.verifier_key))
        assert proof.tree_size == head.size == 401
        roots[head.size] = head.root
        hashes = [bytes.fromhex(node) for node in proof.hashes]
        verify_inclusion(leaf_hash(proof.record.leaf.encode()), proof.record.index, 401, hashes, head.root)
    smaller = await trail.inclusion(AskInclusion(ADMIN, "i5", tree_size=300))
    consistency = await trail.consistency(AskConsistency(ADMIN, 300, 401))
    assert smaller.tree_size == 300
    assert len(consistency.hashes) > 1


async def test_consistency_holds_between_checkpoints(log: Log) -> None:
    log.stream.publish(batch(1, *(intent(n) for n in range(300))))
    async with log.writing():
        first = await log.until_signed(300)
        log.stream.publish(batch(2, *(intent(n) for n in range(300, 1000))))
        second = await log.until_signed(1000)
    proof = await Trail(log.engine).consistency(AskConsistency(ADMIN, 300, 1000))
    verify_consistency(300, 1000, first.root, second.root, [bytes.fromhex(node) for node in proof.hashes])


async def test_what_does_not_exist_is_said_so(trail: Trail, log: Log) -> None:
    with pytest.raises(RecordNotFound):
        await trail.get(ById(ADMIN, "nothing"))
    with pytest.raises(NoSuchTree):
        await trail.inclusion(AskInclusion(ADMIN, "i1", tree_size=402))
    with pytest.raises(NoSuchTree):
        await trail.inclusion(AskInclusion(ADMIN, "i300", tree_size=300))
    with pytest.raises(NoSuchTree):
        await trail.consistency(AskConsistency(ADMIN, 5, 4))
    async with transaction(log.engine) as session:
        session.add(
            RecordRow(
                tree_index=401, id="late", kind="action", service="auth", principal="", method="", tool="", trace_id="",
                at=1, stream_sequence=3, author="", author_batch=0, leaf=b"{}", leaf_hash=leaf_hash(b"{}"),
            )
        )  # fmt: skip
    with pytest.raises(NotYetSigned):
        await trail.inclusion(AskInclusion(ADMIN, "late"))


async def test_an_empty_log_has_no_checkpoint(log: Log) -> None:
    trail = Trail(log.engine)
    assert (await trail.list(ListRecords(ADMIN))).records == ()
    with pytest.raises(NoCheckpoint):
        await trail.checkpoint(ADMIN)
