"""A million revocations: how much memory of an edge they take, and how long an edge reads them.

Part of ``make bench-revocation``. An edge's process has all of its code loaded, is connected to a real bus with mutual
TLS, and reads the real bucket by the code that every edge uses, with auth beside it; then it reads it anew, as after a
reconnection, while what it knows goes on counting, and at last message by message, as it would without auth.
"""

import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import batched
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from load import resident_mb

from interlock_auth.heartbeat import Heartbeats
from interlock_auth.receipts import Receipts
from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages import subjects
from interlock_common.messages.auth import Revocation, revocation_key
from interlock_common.messages.resources import REVOCATIONS
from interlock_common.messages.revocation import ReadRevoked
from interlock_common.revocation_set import RevocationMirror, mark_of
from interlock_common.testing.bus import EmbeddedBus, ScratchIdentity

COUNT = 1_000_000
GOAL_MB, GOAL_S = 250.0, 10.0
_AT_ONCE = 2_000
_LOOKUPS = 200_000
_PATIENCE = 300.0


def measure_many(count: int = COUNT) -> dict[str, Any]:
    """Fill a bus with ``count`` revocations, and let a process with an edge's code read them."""
    with tempfile.TemporaryDirectory(prefix="interlock-many-") as scratch:
        return uvloop.run(_measured(Path(scratch), count))


async def _measured(scratch: Path, count: int) -> dict[str, Any]:
    server = EmbeddedBus(scratch, durable=False)
    await server.start()
    try:
        filler = server.bus("auth")
        await filler.start()
        await kv.ensure_bucket(filler, REVOCATIONS)
        await _fill(filler, count)
        await filler.stop()
        async with _auth(server) as auth_s:
            server.identity("gateway")
            edge = await asyncio.create_subprocess_exec(
                sys.executable, __file__, server.url, str(scratch / "identities" / "gateway"), str(count),
                stdout=subprocess.PIPE,
            )  # fmt: skip
            said, _ = await edge.communicate()
        if edge.returncode:
            raise SystemExit("error: the process that reads a million revocations failed")
        return json.loads(said) | {"auth_load_s": auth_s}
    finally:
        await server.stop(kill=True)


@asynccontextmanager
async def _auth(server: EmbeddedBus) -> AsyncGenerator[float]:
    """What edges ask when they begin, and how long it takes itself to read the bucket."""
    bus = server.bus("auth")
    heartbeats = Heartbeats(bus, Receipts(SYSTEM_CLOCK), SYSTEM_CLOCK, patience=_PATIENCE)
    bus.endpoint(subjects.AUTH_REVOCATION_READ, ReadRevoked, heartbeats.page)
    await bus.start()
    began = time.perf_counter()
    await heartbeats.prepare()
    seconds = round(time.perf_counter() - began, 2)
    beating = asyncio.create_task(heartbeats.run())
    try:
        yield seconds
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await bus.stop()


async def _fill(bus: Bus, count: int) -> None:
    """Publish as auth does, with a time to live each."""
    reply = bus.nc.new_inbox()
    arrived, all_there = 0, asyncio.Event()

    async def stored(_message: object) -> None:
        nonlocal arrived
        arrived += 1
        all_there.set()

    subscription = await bus.nc.subscribe(reply, cb=stored)  # pyright: ignore[reportUnknownMemberType] - future=
    sent = 0
    for some in batched(_revocations(count), _AT_ONCE, strict=False):
        for key, content in some:
            await bus.nc.publish(f"$KV.{REVOCATIONS.name}.{key}", content, reply, {"Nats-TTL": "86400s"})
        sent += len(some)
        while arrived < (sent - _AT_ONCE if sent < count else count):
            all_there.clear()
            await asyncio.wait_for(all_there.wait(), 30)
    await subscription.unsubscribe()


def _revocations(count: int) -> Iterator[tuple[str, bytes]]:
    for _ in range(count):
        token = str(uuid.uuid4())
        yield revocation_key(token), msgspec.json.encode(Revocation(token, 1_800_000_000, "lost"))


async def _read(url: str, identity: Path, count: int) -> dict[str, Any]:
    bus = Bus("gateway", url, ScratchIdentity(identity))
    await bus.start()
    mirror = RevocationMirror(bus, pages=True)
    before, began = resident_mb(os.getpid()), time.perf_counter()
    await mirror.start()
    await mirror.wait_complete(_PATIENCE)
    load_s = time.perf_counter() - began
    if len(mirror.items) != count:
        raise SystemExit(f"error: {len(mirror.items)} of {count} revocations were read")
    after, lookup = resident_mb(os.getpid()), _lookup_us(mirror)
    again_s = await _again(mirror, mirror.restart)
    peak = _peak_mb()
    one_by_one_s = await _again(mirror, mirror.reread)
    report = {
        "count": count, "load_s": round(load_s, 2), "load_again_s": round(again_s, 2),
        "load_one_by_one_s": round(one_by_one_s, 2), "memory_mb": round(after - before, 1), "edge_mb": round(after, 1),
        "edge_peak_mb": round(peak, 1), "lookup_us": round(lookup, 2),
    }  # fmt: skip
    await mirror.stop()
    await bus.stop()
    return report


async def _again(mirror: RevocationMirror, read: Callable[[], Awaitable[None]]) -> float:
    replaced = asyncio.Event()
    mirror.on_replaced(replaced.set)
    began = time.perf_counter()
    await read()
    await asyncio.wait_for(replaced.wait(), _PATIENCE)
    return time.perf_counter() - began


def _lookup_us(mirror: RevocationMirror) -> float:
    """CPU of asking whether a token that is not revoked counts."""
    marks = [(mark_of(str(uuid.uuid4())),) for _ in range(_LOOKUPS)]
    began = time.process_time_ns()
    for mark in marks:
        mirror.items.revokes(mark)
    return (time.process_time_ns() - began) / _LOOKUPS / 1000


def _peak_mb() -> float:
    """The most memory that this process ever had (proc(5), VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        importlib.import_module("interlock_gateway.app")  # an edge has all of its code in memory
        print(json.dumps(uvloop.run(_read(arguments[0], Path(arguments[1]), int(arguments[2])))))
    else:
        print(json.dumps(measure_many(*map(int, arguments)), indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
