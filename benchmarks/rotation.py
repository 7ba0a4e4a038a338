"""``make rotation``: certificates that live for seconds and CAs for a minute are replaced under 100 calls a second.

The root lives 60 s and a leaf 10 s. While calls run, every leaf is renewed again and again, and the CA is rotated by
its four steps three times and more. After each *revoke* a leaf of the old CA, which still counted a moment before, is
shown to the bus. Counted are the calls that failed. Writes ``build/rotation.json``.
"""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import uvloop
from load import Connection, Target
from nats.aio.client import Client
from rich.console import Console
from rich.table import Table

from interlock_common.enrolment import enrol
from interlock_common.errors import InterlockError
from interlock_common.identity import Identity
from interlock_common.messages.certs import AuthorityStatus, LeafList, Step
from interlock_common.ports import choose_free
from stories.deployment import Deployment

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "build" / "rotation.json"
CALLS_PER_S = 100
CA_LIFETIME, LEAF_LIFETIME = 60, 10
LEAF_ROTATIONS = int(os.environ.get("ROTATION_LEAVES", "20"))
CA_ROTATIONS = int(os.environ.get("ROTATION_CAS", "3"))
FIRST_AFTER, EVERY = 10.0, 30.0
EDGES = 2
WATCHED = ("auth", "gateway", "catalog", "connector", "plugins", "audit", "certs", "bus")
STEPS: tuple[Step, ...] = ("prepare", "activate", "taint", "revoke")
UNREACHED = "1000000/1000000"
"""A rate limit that is counted like any other, and that no load here comes to."""
_OK = 200
_CALL_SECONDS = 10.0
_STEP_SECONDS = 30.0
_LONGEST = 400.0


@dataclass
class Load:
    """Calls at a steady rate, at each edge in turn; a call that takes ``10 s`` has failed."""

    targets: list[Target]
    calls: int = 0
    failures: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self._idle: list[list[Connection]] = [[] for _ in self.targets]
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            due = int((loop.time() - began) * CALLS_PER_S)
            while self.calls < due:
                task = loop.create_task(self._call(self.calls % len(self.targets)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self.calls += 1
            await asyncio.sleep(1 / CALLS_PER_S)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)
        for connection in (connection for idle in self._idle for connection in idle):
            connection.close()

    async def _call(self, edge: int) -> None:
        target, began = self.targets[edge], time.perf_counter()
        connection: Connection | None = None
        try:
            connection = await self._connection(edge)
            answer = asyncio.ensure_future(connection.ask(target.request()))
            # Not cancelled when it is late: the connection would trip over an answer that nobody waits for.
            done, _ = await asyncio.wait({answer}, timeout=_CALL_SECONDS)
            if not done:
                connection.close()
                raise TimeoutError
            status, body = await answer
        except OSError as error:
            self.failures[type(error).__name__] += 1
            return
        self._idle[edge].append(connection)
        if status == _OK and b'"result"' in body and b'"isError":true' not in body:
            self.seconds.append(time.perf_counter() - began)
        else:
            self.failures[f"{status} {body[:200].decode(errors='replace')}"] += 1

    async def _connection(self, edge: int) -> Connection:
        idle = self._idle[edge]
        while idle and idle[-1].closed:  # an edge closes what was idle for long
            idle.pop()
        if idle:
            return idle.pop()
        parts = urlsplit(self.targets[edge].url)
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, parts.hostname or "", parts.port or 80))[1]


@dataclass
class OldLeaf:
    """A leaf of a CA that is about to be revoked, and the trust of its time."""

    identity: Identity
    context: ssl.SSLContext

    @property
    def counts(self) -> bool:
        return self.identity.is_usable()


class Rotations:
    """Rotates the CA over REST, and watches which leaves there are."""

    def __init__(self, deployment: Deployment, rest: httpx.AsyncClient) -> None:
        self._deployment = deployment
        self._rest = rest
        self.seen: dict[str, set[str]] = {name: set() for name in WATCHED}
        self.refused_steps: list[str] = []
        self.ca_rotations = 0
        self.old_leaf_refused = 0
        self.step_seconds: list[float] = []

    @property
    def leaf_rotations(self) -> dict[str, int]:
        """How many leaves each got after its first."""
        return {name: max(0, len(serials) - 1) for name, serials in self.seen.items()}

    async def watch(self) -> None:
        while True:
            answer = await self._rest.get("/certificates")
            for leaf in msgspec.json.decode(answer.raise_for_status().content, type=LeafList).leaves:
                if leaf.identity in self.seen:
                    self.seen[leaf.identity].add(leaf.serial)
            await asyncio.sleep(2)

    async def rotate(self) -> None:
        """The four steps; between the second and the last a leaf of the old CA is kept aside."""
        await self._step("prepare")
        old = await self._old_leaf()
        await self._step("activate")
        await self._step("taint")
        accepted = await self._is_accepted(old)
        await self._step("revoke")
        self.ca_rotations += 1
        refused = not await self._is_accepted(old)
        self.old_leaf_refused += accepted and old.counts and refused
        if not (accepted and old.counts and refused):
            sys.stderr.write(f"old leaf: accepted before {accepted}, counts {old.counts}, refused after {refused}\n")

    async def _step(self, step: Step) -> None:
        """Take a step as soon as it is safe; refusals are noted with their names."""
        began = time.perf_counter()
        async with asyncio.timeout(_STEP_SECONDS):
            while True:
                answer = await self._rest.post(f"/certificates/authority/{step}")
                if answer.status_code == _OK:
                    msgspec.json.decode(answer.content, type=AuthorityStatus)
                    self.step_seconds.append(time.perf_counter() - began)
                    return
                if answer.status_code != 409:  # noqa: PLR2004 - a step that is not safe yet
                    raise RuntimeError(f"{step}: {answer.status_code} {answer.text}")
                detail = answer.json()["detail"]
                if detail.startswith(f"{step} is not the next step"):  # taken by certs itself, as the root was due
                    return
                self.refused_steps.append(detail)
                await asyncio.sleep(0.1)

    async def _old_leaf(self) -> OldLeaf:
        state = self._deployment.state
        directory = state.root / f"old-{self.ca_rotations}"
        shutil.rmtree(directory, ignore_errors=True)
        identity = Identity("worker", state.trust_domain, directory)
        url = self._deployment.placement.enrolment_url
        await enrol(identity, url, state.join / "worker", timeout=10)
        return OldLeaf(identity, identity.client_context())

    async def _is_accepted(self, old: OldLeaf) -> bool:
        """Whether the bus takes the leaf: not only its greeting, but a round trip."""
        client = Client()
        try:
            async with asyncio.timeout(3):
                await client.connect(  # pyright: ignore[reportUnknownMemberType] - untyped callbacks
                    self._deployment.placement.bus_url, tls=old.context, allow_reconnect=False,
                    max_reconnect_attempts=1, reconnect_time_wait=0, inbox_prefix=b"_INBOX_worker", error_cb=_ignore,
                )  # fmt: skip
                await client.flush()
        except Exception:  # noqa: BLE001 - a refusal comes as any of a dozen errors
            return False
        else:
            return True
        finally:
            with suppress(Exception):
                async with asyncio.timeout(1):  # the end of a connection that was refused may not come
                    await client.close()


async def _ignore(_error: Exception) -> None:
    """What fails is told by what was asked."""


async def measured(deployment: Deployment, targets: list[Target], token: str) -> tuple[Load, Rotations, float]:
    load, loop = Load(targets), asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=deployment.url, headers=headers, timeout=40) as rest:
        rotations = Rotations(deployment, rest)
        began = loop.time()
        running = asyncio.create_task(load.run())
        watching = asyncio.create_task(rotations.watch())
        try:
            await forced(rotations, watching, began)
        finally:
            for task in (running, watching):
                task.cancel()
            await asyncio.gather(running, watching, return_exceptions=True)
            seconds = loop.time() - began
            await load.finish()
    return load, rotations, seconds


async def forced(rotations: Rotations, watching: asyncio.Task[None], began: float) -> None:
    """Rotate the CA every half of its lifetime until every leaf was renewed often enough."""
    loop = asyncio.get_running_loop()
    due = began + FIRST_AFTER
    async with asyncio.timeout(_LONGEST):
        while rotations.ca_rotations < CA_ROTATIONS or min(rotations.leaf_rotations.values()) < LEAF_ROTATIONS:
            if watching.done():
                await watching
            if loop.time() >= due:
                await rotations.rotate()
                due += EVERY
            await asyncio.sleep(0.2)


def summary(load: Load, rotations: Rotations, seconds: float) -> dict[str, Any]:
    times = sorted(load.seconds)
    leaves = rotations.leaf_rotations
    return {
        "calls": load.calls,
        "failed": sum(load.failures.values()),
        "leaf_rotations": min(leaves.values()),
        "ca_rotations": rotations.ca_rotations,
        "old_leaf_refused": rotations.old_leaf_refused,
        "calls_per_s": round(load.calls / seconds, 1),
        "seconds": round(seconds, 1),
        "leaf_rotations_of": leaves,
        "p50_ms": round(times[len(times) // 2] * 1000, 2),
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000, 2),
        "max_ms": round(times[-1] * 1000, 2),
        "steps": len(rotations.step_seconds),
        "step_max_s": round(max(rotations.step_seconds), 2),
        "steps_refused_as_unsafe": len(rotations.refused_steps),
        "failures": dict(load.failures),
    }


def main() -> int:
    console = Console()
    with ExitStack() as started:
        scratch = started.enter_context(tempfile.TemporaryDirectory(prefix="interlock-bench-"))
        (port,) = choose_free(1)
        upstream = subprocess.Popen([sys.executable, str(HERE / "upstream.py"), "--port", str(port)])
        started.callback(upstream.wait, 30)
        started.callback(upstream.terminate)
        console.print(f"starting a deployment: a CA lives {CA_LIFETIME} s, a leaf {LEAF_LIFETIME} s …")
        extra = {f"RATE_LIMIT_{each}": UNREACHED for each in ("PRINCIPAL", "TOKEN", "ADDRESS", "LOGIN")} | {
            "ROOT_LIFETIME": str(CA_LIFETIME), "ISSUING_LIFETIME": str(CA_LIFETIME),
            "PRINCIPAL_CONCURRENCY": "1000",
            "LEAF_LIFETIME": str(LEAF_LIFETIME), "BUS_LEAF_LIFETIME": str(LEAF_LIFETIME),
        }  # fmt: skip
        deployment = Deployment(Path(scratch), containers=False, extra=extra, gateways=EDGES)
        started.callback(deployment.stop)
        if os.environ.get("ROTATION_LOGS"):
            logs = deployment.state.log("x").parent
            started.callback(shutil.copytree, logs, os.environ["ROTATION_LOGS"], dirs_exist_ok=True)
        deployment.start()
        token = deployment.administrator_token()
        deployment.register(token, "bench", f"http://127.0.0.1:{port}/mcp")
        target = Target("edge", f"{deployment.url}/mcp", "bench-echo", 0, token)
        try:
            load, rotations, seconds = uvloop.run(measured(deployment, [target], token))
        except (InterlockError, RuntimeError, TimeoutError, httpx.HTTPError) as error:
            console.print(f"the rotation did not go through: {error or type(error).__name__}")
            return 1
        report = summary(load, rotations, seconds)
    show(console, report)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["failed"] == 0 and report["old_leaf_refused"] == report["ca_rotations"] else 1


def show(console: Console, report: dict[str, Any]) -> None:
    table = Table(title=f"{report['calls_per_s']:g} calls/s for {report['seconds']:g} s")
    for column in ("calls", "failed", "leaf rotations of each", "CA rotations", "old leaf refused", "p99 ms", "max ms"):
        table.add_column(column, justify="right")
    table.add_row(
        str(report["calls"]), str(report["failed"]), f"at least {report['leaf_rotations']}",
        str(report["ca_rotations"]), str(report["old_leaf_refused"]), f"{report['p99_ms']:g}", f"{report['max_ms']:g}",
    )  # fmt: skip
    console.print(table)
    for failure, count in report["failures"].items():
        console.print(f"{count} of {failure}")


if __name__ == "__main__":
    sys.exit(main())
