"""The service as it runs: a real bus with mutual TLS and the real permissions, a process that is killed."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.database import migrate
from interlock_common.errors import InterlockError, Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.audit import (
    AskInclusion,
    CallIntent,
    CallOutcome,
    Checkpoint,
    Gap,
    InclusionProof,
    ListRecords,
    Record,
    RecordList,
)
from interlock_common.messages.common import Actor, Page
from interlock_common.testing.bus import TRUST_DOMAIN, EmbeddedBus
from interlock_common.transparency.merkle import leaf_hash, root_of, verify_inclusion
from interlock_common.transparency.note import Verifier, open_checkpoint

ADMIN = Actor("admin@example.com", is_admin=True)
_SECONDS = 30.0


@dataclass
class Process:
    """The audit service as a process of its own."""

    environment: Mapping[str, str]
    running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "interlock_audit", env=dict(self.environment), stdout=asyncio.subprocess.DEVNULL
        )

    async def kill(self) -> None:
        assert self.running is not None
        if self.running.returncode is None:
            self.running.kill()
        await self.running.wait()

    async def stop(self) -> int:
        assert self.running is not None
        self.running.terminate()
        return await self.running.wait()


@asynccontextmanager
async def deployment(embedded_bus: EmbeddedBus, directory: Path) -> AsyncGenerator[tuple[Process, Bus, AuditLog]]:
    """Audit as a process, and an edge as it would publish and ask."""
    url = f"sqlite:///{directory}/audit.db"
    await asyncio.to_thread(migrate, url, "interlock_audit")
    process = Process({
        **os.environ,
        "TRUST_DOMAIN": TRUST_DOMAIN,
        "BUS_URL": embedded_bus.url,
        "IDENTITY_DIR": str(embedded_bus.identity("audit").directory),
        "DATABASE_URL": url,
        "TILES_DIR": str(directory / "tiles"),
        "KEY_DIR": str(directory / "keys"),
        "HEALTH_PORT": "0",
        "LEASE_SECONDS": "1",
        "CHECKPOINT_INTERVAL": "0.05",
        "FETCH_BATCHES": "5",
    })  # fmt: skip
    edge = embedded_bus.bus("gateway")
    await process.start()
    await edge.start()
    log = AuditLog(edge)
    log.start()
    try:
        yield process, edge, log
    finally:
        await log.stop()
        await edge.stop()
        await process.kill()


def call(number: int) -> CallIntent:
    return CallIntent(
        id=f"i{number}", at=number, principal="ann@example.com", method="tools/call", tool="echo", upstream="u"
    )


async def until_size(edge: Bus, size: int) -> list[bytes]:
    """Wait until the log has ``size`` records that are all signed; their leaves."""
    async with asyncio.timeout(_SECONDS):
        while True:
            try:
                shown = await edge.request(subjects.AUDIT_CHECKPOINT_GET, Page(ADMIN), Checkpoint)
                head = open_checkpoint(shown.note, Verifier.parse(shown.verifier_key))
                if head.size >= size:
                    break
            except InterlockError:
                pass
            await asyncio.sleep(0.05)
    leaves: list[bytes] = []
    while len(leaves) < head.size:
        page = await edge.request(subjects.AUDIT_RECORD_LIST, ListRecords(ADMIN, 1000, after=len(leaves)), RecordList)
        leaves += [record.leaf.encode() for record in page.records]
    assert root_of(map(leaf_hash, leaves[: head.size])) == head.root
    return leaves


async def record(log: AuditLog, number: int) -> None:
    """Record as an edge does; while the stream is away the record waits in the queue and is sent later."""
    with contextlib.suppress(Unavailable):
        await log.record(call(number))


async def test_a_recorded_call_is_proved_to_its_caller(embedded_bus: EmbeddedBus, tmp_path: Path) -> None:
    async with deployment(embedded_bus, tmp_path) as (process, edge, log):
        await record(log, 1)
        log.record_soon(CallOutcome(id="o1", at=2, intent="i1", outcome="ok", ms=1.0))
        leaves = await until_size(edge, 2)
        ann = Actor("ann@example.com")
        proof = await edge.request(subjects.AUDIT_PROOF_INCLUSION, AskInclusion(ann, "o1"), InclusionProof)
        head = open_checkpoint(proof.checkpoint.note, Verifier.parse(proof.checkpoint.verifier_key))
        nodes = [bytes.fromhex(node) for node in proof.hashes]
        verify_inclusion(leaf_hash(leaves[1]), proof.record.index, proof.tree_size, nodes, head.root)
        assert head.origin == f"interlock/{TRUST_DOMAIN}/audit"
        assert await process.stop() == 0


async def test_a_killed_writer_loses_nothing_and_doubles_nothing(embedded_bus: EmbeddedBus, tmp_path: Path) -> None:
    async with deployment(embedded_bus, tmp_path) as (process, edge, log):
        await record(log, 0)
        await until_size(edge, 1)
        for round_number in range(3):
            numbers = range(1 + round_number * 200, 1 + (round_number + 1) * 200)
            sending = asyncio.gather(*(record(log, number) for number in numbers))
            for number in range(50):  # batches of one record: many messages in flight when the writer dies
                log.record_soon(call(10_000 + round_number * 100 + number))
                await asyncio.sleep(0)
            await process.kill()
            await sending
            await process.start()
        leaves = await until_size(edge, 751)
    records = [msgspec.json.decode(leaf, type=Record) for leaf in leaves]
    assert not [found for found in records if isinstance(found, Gap)]
    ids = [found.id for found in records]
    assert len(ids) == len(set(ids)) == 751


async def test_a_bus_that_restarts_loses_nothing(embedded_bus: EmbeddedBus, tmp_path: Path) -> None:
    async with deployment(embedded_bus, tmp_path) as (_, edge, log):
        await record(log, 0)
        await until_size(edge, 1)
        await embedded_bus.stop(kill=True)
        for number in range(1, 20):
            log.record_soon(call(number))
        await embedded_bus.start()
        leaves = await until_size(edge, 20)
    assert [msgspec.json.decode(leaf, type=Record).id for leaf in leaves] == [f"i{n}" for n in range(20)]


async def test_a_message_deleted_from_the_stream_is_named(embedded_bus: EmbeddedBus, tmp_path: Path) -> None:
    async with deployment(embedded_bus, tmp_path) as (process, edge, log):
        await record(log, 0)
        await until_size(edge, 1)
        await process.kill()
        for number in range(1, 4):
            await record(log, number)
        await embedded_bus.stop()
        await start_with_a_permission_too_many(embedded_bus)
        async with asyncio.timeout(_SECONDS):
            while not edge.connected:  # noqa: ASYNC110 - the bus has no event for it
                await asyncio.sleep(0.05)
        await edge.js.delete_msg("AUDIT", 3)
        await process.start()
        leaves = await until_size(edge, 5)
    kinds = [msgspec.json.decode(leaf, type=Record) for leaf in leaves]
    gaps = [(found.first, found.last, found.author) for found in kinds if isinstance(found, Gap)]
    assert gaps == [(3, 3, ""), (3, 3, log.author)]


async def start_with_a_permission_too_many(bus: EmbeddedBus) -> None:
    """An attacker at the broker: no service has the permission to delete messages."""
    write = bus._write_config  # pyright: ignore[reportPrivateUsage] - there is no other way in

    def edited() -> Path:
        config = write()
        allowed = '"audit.gateway", "$JS.API.STREAM.MSG.DELETE.>"'
        config.write_text(config.read_text().replace('"audit.gateway"', allowed))
        return config

    bus._write_config = edited  # pyright: ignore[reportPrivateUsage]
    await bus.start()
