"""``make bench-revocation``: how long a revoked token is still accepted, at three edges under load.

One token after the other is revoked while all calls are made with it. Measured is from the request to revoke to the
arrival of the last answer that accepts it, at whichever edge; and how many calls were accepted that were sent after
the receipt had come. Prints a table and writes ``build/revocation.json``.

``BENCH_REVOCATIONS`` and ``BENCH_CALLS_PER_S`` make it smaller; ``BENCH_MANY_REVOCATIONS`` is how many an edge reads at
once in ``many_revocations.py``, none with 0.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvloop
from load import Connection, Target
from many_revocations import GOAL_MB, GOAL_S, measure_many
from rich.console import Console
from rich.table import Table

from interlock_common.ports import choose_free
from stories.deployment import Deployment

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "build" / "revocation.json"
EDGES = 3
CALLS_PER_S = int(os.environ.get("BENCH_CALLS_PER_S", "500"))
REVOCATIONS = int(os.environ.get("BENCH_REVOCATIONS", "1000"))
MANY = int(os.environ.get("BENCH_MANY_REVOCATIONS", "1000000"))
GOAL_P99_MS = 50.0
NO_PLUGINS = "plugins: []\n"
UNREACHED = "1000000/1000000"
"""A rate limit that is counted like any other, and that no load here comes to."""
_ACCEPTED = 200
_DEADLINE = 20.0


class Edges(Deployment):
    """A deployment whose edges have a port each, so that each can be asked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plugins = self.directory / "plugins.yaml"
        self.plugins.write_text(NO_PLUGINS)
        self.own_ports = dict(zip(self.edges, [self.ports["public"], *choose_free(EDGES - 1)], strict=True))

    def _environment(self, service: str, instance: str) -> dict[str, str]:
        environment = super()._environment(service, instance) | {"PLUGINS_CONFIG_PATH": str(self.plugins)}
        return environment | ({"PORT": str(self.own_ports[instance])} if instance in self.own_ports else {})


@dataclass
class Victim:
    """A token that is revoked, and how its calls went; times by ``time.perf_counter``."""

    id: str
    token: str
    accepted: Counter[int] = field(default_factory=Counter[int])
    refused_after: set[int] = field(default_factory=set[int])
    last_accepted: float = 0.0
    asked: float = 0.0
    receipt: float = 0.0
    accepted_after_receipt: int = 0

    def take(self, edge: int, sent: float, status: int) -> None:
        """Note an answer; ``sent`` is when its call was."""
        if status == _ACCEPTED:
            self.accepted[edge] += 1
            self.last_accepted = time.perf_counter()
            self.accepted_after_receipt += bool(self.receipt and sent > self.receipt)
        elif self.receipt and sent > self.receipt:
            self.refused_after.add(edge)

    @property
    def tried(self) -> bool:
        return len(self.accepted) == EDGES

    @property
    def over(self) -> bool:
        return len(self.refused_after) == EDGES

    @property
    def ms(self) -> float:
        return max(0.0, self.last_accepted - self.asked) * 1000


class Load:
    """Calls at a steady rate, at each edge in turn, always with the token of the moment."""

    def __init__(self, targets: list[Target], victim: Victim) -> None:
        self.victim = victim
        self.calls = 0
        self.other: Counter[int] = Counter()
        self._targets = targets
        self._idle: list[list[Connection]] = [[] for _ in targets]
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            due = int((loop.time() - began) * CALLS_PER_S)
            while self.calls < due:
                task = loop.create_task(self._call(self.calls % len(self._targets), self.victim))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self.calls += 1
            await asyncio.sleep(1 / CALLS_PER_S)

    async def close(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in (connection for idle in self._idle for connection in idle):
            connection.close()

    async def _call(self, edge: int, victim: Victim) -> None:
        idle, target = self._idle[edge], replace(self._targets[edge], token=victim.token)
        parts = urlsplit(target.url)
        while idle and idle[-1].closed:  # an edge closes what was idle for long
            idle.pop()
        if idle:
            connection = idle.pop()
        else:
            loop = asyncio.get_running_loop()
            connection = (await loop.create_connection(Connection, parts.hostname or "", parts.port or 80))[1]
        sent = time.perf_counter()
        status, _ = await connection.ask(target.request())
        idle.append(connection)
        victim.take(edge, sent, status)
        if status not in {_ACCEPTED, 401}:
            self.other[status] += 1


async def revoke_all(load: Load, victims: list[Victim], rest: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Revoke one after the other; answers the receipts."""
    receipts: list[dict[str, Any]] = []
    for victim in victims:
        load.victim = victim
        await until(lambda victim=victim: victim.tried)
        victim.asked = time.perf_counter()
        answer = await rest.delete(f"/tokens/{victim.id}")
        victim.receipt = time.perf_counter()
        receipts.append(answer.raise_for_status().json())
        await until(lambda victim=victim: victim.over)
    return receipts


async def until(condition: Any) -> None:
    async with asyncio.timeout(_DEADLINE):
        while not condition():  # noqa: ASYNC110 - looked at as often as calls are made
            await asyncio.sleep(0.002)


async def measured(
    targets: list[Target], victims: list[Victim], url: str, token: str
) -> tuple[Load, list[dict[str, Any]]]:
    load = Load(targets, victims[0])
    running = asyncio.create_task(load.run())
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as rest:
        try:
            receipts = await revoke_all(load, victims, rest)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await load.close()
    return load, receipts


def minted(deployment: Deployment, token: str) -> list[Victim]:
    with deployment.rest(token) as rest:
        answers = (rest.post("/tokens", json={"name": f"victim {n}", "lifetime": 3600}) for n in range(REVOCATIONS))
        issued = [answer.raise_for_status().json() for answer in answers]
    return [Victim(each["id"], each["token"]) for each in issued]


def summary(victims: list[Victim], load: Load, receipts: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    times = sorted(victim.ms for victim in victims)
    return {
        "edges": EDGES,
        "revocations": len(victims),
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
        "max_ms": round(times[-1], 2),
        "accepted_after_receipt": sum(victim.accepted_after_receipt for victim in victims),
        "calls_per_s": round(load.calls / seconds, 1),
        "late_receipts": sum(bool(receipt["late"]) for receipt in receipts),
        "receipts_of_all_edges": sum(receipt["applied"] == EDGES for receipt in receipts),
        "receipt_p50_ms": round(sorted((v.receipt - v.asked) * 1000 for v in victims)[len(victims) // 2], 2),
        "confirmed_p50_ms": sorted(receipt["max_ms"] for receipt in receipts)[len(receipts) // 2],
        "other_answers": dict(load.other),
        "machine": {"processors": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)},
    }


def main() -> int:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="interlock-bench-") as scratch, ExitStack() as started:
        (port,) = choose_free(1)
        upstream = subprocess.Popen([sys.executable, str(HERE / "upstream.py"), "--port", str(port)])
        started.callback(upstream.wait, 30)
        started.callback(upstream.terminate)
        console.print(f"starting a deployment with {EDGES} edges …")
        limits = {f"RATE_LIMIT_{each}": UNREACHED for each in ("PRINCIPAL", "TOKEN", "ADDRESS", "LOGIN")}
        deployment = Edges(Path(scratch), containers=False, extra=limits, gateways=EDGES)
        started.callback(deployment.stop)
        deployment.start()
        token = deployment.administrator_token()
        deployment.register(token, "bench", f"http://127.0.0.1:{port}/mcp")
        console.print(f"minting {REVOCATIONS} tokens …")
        victims = minted(deployment, token)
        targets = [
            Target(name, f"http://127.0.0.1:{own}/mcp", "bench-echo", 0) for name, own in deployment.own_ports.items()
        ]
        began = time.perf_counter()
        load, receipts = uvloop.run(measured(targets, victims, deployment.url, token))
        report = summary(victims, load, receipts, time.perf_counter() - began)
    if MANY:
        console.print(f"filling a bus with {MANY:,} revocations …")
        report["many"] = measure_many(MANY)
    show(console, report)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if report["accepted_after_receipt"] == 0 else 1


def show(console: Console, report: dict[str, Any]) -> None:
    table = Table(title=f"request to last acceptance, {EDGES} edges, {report['calls_per_s']:g} calls/s")
    for column in ("revocations", "p50 ms", "p99 ms", "max ms", "accepted after receipt", "goal"):
        table.add_column(column, justify="right")
    table.add_row(
        str(report["revocations"]), f"{report['p50_ms']:g}", f"{report['p99_ms']:g}", f"{report['max_ms']:g}",
        str(report["accepted_after_receipt"]), f"p99 under {GOAL_P99_MS:g} ms",
    )  # fmt: skip
    console.print(table)
    if many := report.get("many"):
        console.print(
            f"{many['count']:,} revocations: an edge reads them in {many['load_s']:g} s (goal {GOAL_S:g}), they take "
            f"{many['memory_mb']:g} MB of its {many['edge_mb']:g}, at most {many['edge_peak_mb']:g} (goal {GOAL_MB:g})"
        )


if __name__ == "__main__":
    sys.exit(main())
