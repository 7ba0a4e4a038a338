"""The writer takes each batch once, names what is missing, and never signs what contradicts its signature."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select, update

from interlock_audit.models import CheckpointRow, LeaseRow, RecordRow
from interlock_audit.store import Store
from interlock_audit.testing import ORIGIN, Log, batch, intent, outcome
from interlock_audit.tile_files import TileFiles
from interlock_audit.writer import Writer, contiguous
from interlock_common import telemetry
from interlock_common.database import transaction
from interlock_common.messages.audit import Action, Gap, Record
from interlock_common.transparency.merkle import leaf_hash, root_of
from interlock_common.transparency.note import Verifier, open_checkpoint
from interlock_common.transparency.tiles import decode_entries, entries_path, split_hashes


async def leaves(log: Log) -> list[bytes]:
    async with transaction(log.engine) as session:
        return await Store(session).leaves(0, 100_000)


async def records(log: Log) -> list[Record]:
    return [msgspec.json.decode(leaf, type=Record) for leaf in await leaves(log)]


async def rows(log: Log) -> list[RecordRow]:
    async with transaction(log.engine) as session:
        return list(await session.scalars(select(RecordRow).order_by(RecordRow.tree_index)))


async def until_failed(writer: Writer, words: str) -> None:
    async with asyncio.timeout(10):
        while words not in (writer.failure or ""):  # noqa: ASYNC110 - the writer has no event for it
            await asyncio.sleep(0.01)


def check(row: CheckpointRow, found: list[bytes]) -> None:
    head = open_checkpoint(row.note, Verifier.parse(row.verifier_key))
    assert head.origin == ORIGIN
    assert head.size == len(found)
    assert head.root == root_of(map(leaf_hash, found))


async def test_records_are_appended_in_order_signed_and_acknowledged(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), intent(2)), batch(2, outcome(1)))
    async with log.writing():
        row = await log.until_signed(3)
    assert await records(log) == [intent(1), intent(2), outcome(1)]
    assert log.stream.acknowledged == [1, 2]
    check(row, await leaves(log))


async def test_the_leaf_is_what_the_author_wrote_byte_for_byte(log: Log) -> None:
    odd = b'{ "kind":"call.intent", "id":"x","at":1,"principal":"\\u00e9\\u0000","method":"","tool":"","upstream":""}'
    log.stream.publish(batch(1, odd))
    async with log.writing():
        await log.until_signed(1)
    assert await leaves(log) == [odd]
    assert (await rows(log))[0].principal == "é\ufffd"


async def test_what_is_delivered_again_is_appended_once(log: Log) -> None:
    log.stream.publish(batch(1, intent(1)), batch(2, intent(2)))
    async with log.writing():
        await log.until_signed(2)
        log.stream.redeliver(1, 2)
        log.stream.publish(batch(3, intent(3)))
        await log.until_signed(3)
    async with log.writing():  # and after a restart without a single acknowledgement
        log.stream.redeliver(1, 2, 3)
        log.stream.publish(batch(4, intent(4)))
        await log.until_signed(4)
    assert await records(log) == [intent(n) for n in (1, 2, 3, 4)]
    assert log.stream.acknowledged[-4:] == [1, 2, 3, 4]


async def test_what_has_no_author_is_appended_once_too(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), author=""), batch(2, intent(1), author=""))
    async with log.writing():
        await log.until_signed(2)
        log.stream.redeliver(1, 2)
        log.stream.publish(batch(3, intent(3), author=""))
        await log.until_signed(3)
    assert await records(log) == [intent(1), intent(1), intent(3)]


async def test_a_batch_that_the_stream_took_twice_is_appended_once(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), number=1), batch(2, intent(1), number=1), batch(3, intent(2), number=2))
    async with log.writing():
        await log.until_signed(2)
        log.stream.publish(batch(4, intent(2), number=2), batch(5, intent(3), number=3))
        await log.until_signed(3)
    assert await records(log) == [intent(1), intent(2), intent(3)]


async def test_a_number_used_twice_for_different_records_loses_neither(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), number=1), batch(2, intent(2), number=1))
    async with log.writing():
        await log.until_signed(2)
    assert await records(log) == [intent(1), intent(2)]


async def test_messages_that_the_stream_lost_are_named(log: Log) -> None:
    log.stream.publish(batch(1, intent(1)), batch(5, intent(5), number=2))
    async with log.writing():
        await log.until_signed(3)
    first, gap, last = await records(log)
    assert (first, last) == (intent(1), intent(5))
    assert isinstance(gap, Gap)
    assert (gap.first, gap.last, gap.author) == (2, 4, "")
    assert (await rows(log))[1].service == "audit"


async def test_batches_that_an_author_lost_are_named(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), number=1), batch(2, intent(4), number=4))
    async with log.writing():
        await log.until_signed(3)
    gap = (await records(log))[1]
    assert isinstance(gap, Gap)
    assert (gap.first, gap.last, gap.author) == (2, 3, "gateway-a")


async def test_what_the_consumer_passed_over_is_looked_up_before_it_counts_as_lost(log: Log) -> None:
    log.stream.limit = 2
    async with log.writing():
        log.stream.publish(batch(1, intent(1)))
        await log.until_signed(1)
        log.stream.publish(*(batch(n, intent(n)) for n in range(2, 8)), hide=True)
        log.stream.publish(batch(8, intent(8)))
        await log.until_signed(8)
    assert await records(log) == [intent(n) for n in range(1, 9)]


async def test_what_went_to_a_connection_that_is_gone_is_looked_up_at_once(log: Log) -> None:
    log.stream.publish(batch(1, intent(1)))
    async with log.writing():
        await log.until_signed(1)
        log.stream.publish(batch(2, intent(2)), hide=True)
        log.stream.swallow()
        await log.until_signed(2)
    assert await records(log) == [intent(1), intent(2)]


async def test_a_database_that_was_set_back_catches_up_from_the_stream(log: Log) -> None:
    log.stream.publish(*(batch(n, intent(n)) for n in range(1, 5)), hide=True)  # acknowledged long ago
    async with log.writing():
        await log.until_signed(4)
    assert await records(log) == [intent(n) for n in range(1, 5)]


async def test_a_stream_that_was_replaced_is_noted_and_read_from_its_beginning(log: Log) -> None:
    log.stream.publish(batch(1, intent(1)), batch(2, intent(2)))
    async with log.writing():
        await log.until_signed(2)
    log.stream.held, log.stream.pending, log.stream.created = {}, [], "second"
    log.stream.publish(batch(1, intent(3), number=3))
    async with log.writing():
        await log.until_signed(4)
    *_, noted, last = await records(log)
    assert isinstance(noted, Action)
    assert noted.action == "stream.replaced"
    assert noted.detail["after"] == 2
    assert last == intent(3)


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"\xff\xfe",
        b'{"kind":"unknown","id":"x","at":1}',
        b'{"kind":"call.intent","id":"","at":1,"principal":"p","method":"m","tool":"t","upstream":"u"}',
        b'{"kind":"call.outcome","id":"x","at":99999999999999999999999,"intent":"i","outcome":"ok","ms":1}',
        b'{"kind":"gap","id":"forged","at":1,"first":1,"last":9}',
    ],
)
async def test_a_malformed_record_is_kept_as_it_is(log: Log, line: bytes) -> None:
    log.stream.publish(batch(1, line, intent(1)))
    async with log.writing():
        await log.until_signed(2)
    assert await leaves(log) == [line, msgspec.json.encode(intent(1))]
    assert [row.kind for row in await rows(log)] == ["malformed", "call.intent"]


async def test_a_record_over_64_kib_leaves_its_digest(log: Log) -> None:
    log.stream.publish(batch(1, b'"' + b"x" * 70_000 + b'"'))
    async with log.writing():
        await log.until_signed(1)
    (record,) = await records(log)
    assert isinstance(record, Action)
    assert record.action == "record.oversize"
    assert record.target == "gateway"
    assert record.detail["bytes"] == 70_002


async def test_records_belong_to_the_service_whose_subject_carried_them(log: Log) -> None:
    claim = Action(id="a1", at=1, action="token.revoked", actor="auth", target="t")
    log.stream.publish(batch(1, claim, number=1, author="auth-1"))
    async with log.writing():
        await log.until_signed(1)
    (row,) = await rows(log)
    assert (row.service, row.author, row.author_batch) == ("gateway", "", 0)


async def test_an_outcome_is_found_by_the_principal_of_its_intent(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), outcome(1), intent(2)))
    async with log.writing():
        await log.until_signed(3)
        log.stream.publish(batch(2, outcome(2)))
        await log.until_signed(4)
    assert {(row.principal, row.tool) for row in await rows(log)} == {("ann@example.com", "echo")}


async def test_tiles_and_bundles_hold_the_tree(log: Log) -> None:
    log.stream.publish(batch(1, *(intent(n) for n in range(300))))
    async with log.writing():
        await log.until_signed(300)
        log.stream.publish(batch(2, *(intent(n) for n in range(300, 700))))
        row = await log.until_signed(700)
    found = await leaves(log)
    hashes = [leaf_hash(leaf) for leaf in found]
    for number, width in ((0, 256), (1, 256), (2, 188)):
        low = number * 256
        name = f"tile/0/00{number}" + (f".p/{width}" if width < 256 else "")
        assert split_hashes((log.tiles / name).read_bytes()) == hashes[low : low + width]
        bundle = (log.tiles / entries_path(number, width)).read_bytes()
        assert list(decode_entries(bundle)) == found[low : low + width]
    above = split_hashes((log.tiles / "tile/1/000.p/2").read_bytes())
    assert above == [root_of(hashes[:256]), root_of(hashes[256:512])]
    assert not (log.tiles / "tile/0/001.p").exists()
    assert (log.tiles / "checkpoint").read_text() == row.note


async def test_a_crash_between_commit_and_tiles_is_made_good(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: object) -> None:
        raise OSError(28, "no space left on device")

    log.stream.publish(batch(1, intent(1)))
    with monkeypatch.context() as patch:
        patch.setattr(TileFiles, "publish", crash)
        async with log.writing() as writer:
            await until_failed(writer, "OSError")
    assert not (log.tiles / "checkpoint").exists()
    log.stream.publish(batch(2, intent(2)))
    async with log.writing():
        row = await log.until_signed(2)
    assert (log.tiles / "checkpoint").read_text() == row.note
    assert split_hashes((log.tiles / "tile/0/000.p/2").read_bytes()) == [leaf_hash(leaf) for leaf in await leaves(log)]


async def test_tiles_that_went_missing_are_written_again(log: Log) -> None:
    log.stream.publish(batch(1, *(intent(n) for n in range(600))))
    async with log.writing():
        await log.until_signed(600)
    kept = {path: path.read_bytes() for path in files(log.tiles)}
    shutil.rmtree(log.tiles / "tile" / "0")
    (log.tiles / "tile/entries/001").unlink()
    log.stream.publish(batch(2, intent(600)))
    async with log.writing():
        await log.until_signed(601)
    for path, data in kept.items():
        if path.name != "checkpoint":
            assert path.read_bytes() == data


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_a_tree_that_is_not_what_was_signed_is_not_continued(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), intent(2)))
    async with log.writing():
        await log.until_signed(2)
    async with transaction(log.engine) as session:
        await session.execute(update(RecordRow).where(RecordRow.tree_index == 0).values(leaf_hash=b"x" * 32))
    log.stream.publish(batch(2, intent(3)))
    async with log.writing() as writer:
        await until_failed(writer, "not those of the last checkpoint")
        assert writer.problem() is not None
    assert len(await leaves(log)) == 2
    assert log.signed.empty()


async def test_a_database_older_than_the_checkpoint_is_not_continued(log: Log) -> None:
    log.stream.publish(batch(1, intent(1), intent(2)))
    async with log.writing():
        await log.until_signed(2)
    async with log.engine.begin() as connection:
        for table in ("records", "checkpoints", "position", "authors"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - names of ours
    async with log.writing() as writer:
        await until_failed(writer, "has 0 records, the last checkpoint signed 2")


async def test_a_lost_key_is_not_replaced_in_silence(log: Log) -> None:
    log.stream.publish(batch(1, intent(1)))
    async with log.writing():
        await log.until_signed(1)
    assert (log.directory / "keys/checkpoint.pem").stat().st_mode & 0o777 == 0o600
    (log.directory / "keys/checkpoint.pem").unlink()
    async with log.writing() as writer:
        await until_failed(writer, "restore it")


async def test_only_the_holder_of_the_lease_writes(log: Log) -> None:
    log.stream.publish(batch(1, intent(1)))
    async with log.writing():
        await log.until_signed(1)
        async with log.writing() as standby:
            assert not standby.holds_lease
            async with transaction(log.engine) as session:  # the standby takes over while the first still believes
                await session.execute(update(LeaseRow).values(holder=standby.holder, expires_at=0.0))
            log.stream.publish(batch(2, intent(2)))
            await log.until_signed(2)
    assert await records(log) == [intent(1), intent(2)]


async def test_a_bus_that_goes_away_and_comes_back_loses_nothing(log: Log) -> None:
    log.stream.publish(batch(1, intent(1)))
    async with log.writing() as writer:
        await log.until_signed(1)
        log.stream.away = True
        log.stream.publish(batch(2, intent(2)))
        async with asyncio.timeout(5):
            while writer.problem() is None:  # noqa: ASYNC110 - the writer has no event for it
                await asyncio.sleep(0.01)
        log.stream.away = False
        await log.until_signed(2)
        assert writer.problem() is None
    assert await records(log) == [intent(1), intent(2)]


def test_runs_have_no_jumps_and_no_doubles() -> None:
    deliveries = [batch(n, b"x") for n in (4, 1, 2, 2, 7)]
    assert [[d.sequence for d in run] for run in contiguous(deliveries)] == [[1, 2], [4], [7]]
    assert contiguous([]) == []


async def test_an_appended_record_continues_the_trace_of_its_author(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", lambda: provider.get_tracer("test"))
    monkeypatch.setattr(telemetry, "exporting", lambda: True)
    traced = msgspec.structs.replace(intent(1), trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331")
    broken = msgspec.structs.replace(intent(2), trace_id="not hex", span_id="b7ad6b7169203331")
    log.stream.publish(batch(1, traced, broken))
    async with log.writing():
        await log.until_signed(2)
    (span,) = exporter.get_finished_spans()
    assert span.name == "audit append"
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (int(traced.trace_id, 16), int(traced.span_id, 16))
    assert span.attributes is not None
    assert span.attributes[telemetry.RECORD_ID] == "i1"
