"""``make bench``: the edge beside a bare byte proxy, in front of the same upstream, in one run.

Prints a table and writes ``build/bench.json``. The ratios count; the absolute figures are this machine's.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvloop
from load import Measured, Target, measure, resident_mb
from rich.console import Console
from rich.table import Table
from size import Size, measure_size
from tokens import TokenCost, measure_tokens

from interlock_common.ports import choose_free

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "build" / "bench.json"
ROUNDS = 3
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
BUDGET_RATIO, BUDGET_RATIO_PLUGIN, BUDGET_ADDED_MS, BUDGET_REST_MB, BUDGET_START_S = 3.0, 4.0, 1.2, 120.0, 5.0
UNREACHED = "1000000/1000000"
"""A rate limit that is counted like any other, and that no load here comes to."""
NO_PLUGINS = "plugins: []\n"
ONE_PLUGIN = """plugins:
  - name: SecretsDetection
    kind: interlock_plugins.builtin.secrets_detection.SecretsDetectionPlugin
    hooks: [tool_post_invoke]
    mode: enforce
    config: {redact: true}
"""


@contextmanager
def process(*command: str, **environment: str) -> Generator["subprocess.Popen[str]"]:
    started = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(30)
        if started.stdout is not None:
            started.stdout.close()


@contextmanager
def stack(folder: Path, plugins: str) -> Generator[dict[str, Any]]:
    """The embedded stack as ``interlock up`` starts it, with the plugins given."""
    (port,) = choose_free(1)
    config = folder.with_suffix(".yaml")
    config.write_text(plugins)
    interlock = str(Path(sys.executable).with_name("interlock"))
    command = [interlock, "up", "--state", str(folder), "--port", str(port), "--json"]
    limits = {f"RATE_LIMIT_{each}": UNREACHED for each in ("PRINCIPAL", "TOKEN", "ADDRESS", "LOGIN")}
    with process(*command, PLUGINS_CONFIG_PATH=str(config), **limits) as started:
        assert started.stdout is not None
        line = started.stdout.readline()
        if not line:
            raise SystemExit("error: the stack did not start; run `interlock up` to see why")
        yield json.loads(line)


def edge_target(ready: dict[str, Any], upstream: str, name: str) -> Target:
    headers = {"Authorization": f"Bearer {ready['token']}"}
    with httpx.Client(base_url=ready["url"], headers=headers, timeout=30) as rest:
        rest.post("/gateways", json={"name": "bench", "url": upstream}).raise_for_status()
    return Target(name, f"{ready['url']}/mcp", "bench-echo", edge_pid(ready), ready["token"])


def edge_pid(ready: dict[str, Any]) -> int:
    """The edge among the children of the supervisor."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == ready["pid"] and b"interlock_gateway" in command and b"catalog" not in command:
                return int(entry.name)
    raise SystemExit("error: the edge's process is not to be found")


def settle() -> None:
    """Let start-up work end before anything is measured."""
    time.sleep(1.0)


async def rounds(targets: list[Target], connections: int) -> dict[str, Measured]:
    """The best of some rounds per target, taken in turns, so that a disturbance hits all of them alike."""
    best: dict[str, Measured] = {}
    for _ in range(ROUNDS):
        for target in targets:
            result = await measure(target, connections=connections, seconds=SECONDS)
            if result.errors:
                raise SystemExit(f"error: {target.name} answered {result.errors[0]}")
            if target.name not in best or result.cpu_ms < best[target.name].cpu_ms:
                best[target.name] = result
    return best


def main() -> int:
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="interlock-bench-", ignore_cleanup_errors=True) as scratch,
        ExitStack() as started,
    ):
        upstream_port, bare_port = choose_free(2)
        upstream = f"http://127.0.0.1:{upstream_port}/mcp"
        started.enter_context(process(sys.executable, str(HERE / "upstream.py"), "--port", str(upstream_port)))
        bare = started.enter_context(
            process(sys.executable, str(HERE / "bare_proxy.py"), "--port", str(bare_port), "--upstream", upstream)
        )
        bare_target = Target("bare proxy", f"http://127.0.0.1:{bare_port}/mcp", "echo", bare.pid)
        console.print("starting the stack …")
        ready = started.enter_context(stack(Path(scratch) / "plain", NO_PLUGINS))
        settle()
        rest_mb = resident_mb(edge_pid(ready))
        edge = edge_target(ready, upstream, "edge")
        settle()
        one = uvloop.run(rounds([bare_target, edge], 1))
        many = uvloop.run(rounds([bare_target, edge], 16))
        console.print("registering 1,000 upstreams …")
        size = uvloop.run(measure_size(ready, edge, lambda: edge_pid(ready), seconds=SECONDS))
        with stack(Path(scratch) / "plugin", ONE_PLUGIN) as with_plugin:
            plugin = edge_target(with_plugin, upstream, "edge, one plugin")
            settle()
            plugged = uvloop.run(rounds([bare_target, plugin], 16))
        report = summary(one, many, plugged, rest_mb, ready["seconds"]) | of_size(size) | of_tokens(measure_tokens())
    show(console, one, many, plugged, report)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(report, indent=2) + "\n")
    console.print(f"written to {OUTPUT.relative_to(Path.cwd())}" if OUTPUT.is_relative_to(Path.cwd()) else str(OUTPUT))
    return 0


def summary(
    one: dict[str, Measured],
    many: dict[str, Measured],
    plugged: dict[str, Measured],
    rest_mb: float,
    start_s: float,
) -> dict[str, float]:
    return {
        "bare_cpu_ms": round(many["bare proxy"].cpu_ms, 4),
        "edge_cpu_ms": round(many["edge"].cpu_ms, 4),
        "edge_cpu_ratio": round(many["edge"].cpu_ms / many["bare proxy"].cpu_ms, 2),
        "edge_plugin_cpu_ratio": round(plugged["edge, one plugin"].cpu_ms / plugged["bare proxy"].cpu_ms, 2),
        "bare_calls_per_s": round(many["bare proxy"].calls_per_s),
        "edge_calls_per_s": round(many["edge"].calls_per_s),
        "added_p50_ms": round(one["edge"].p50_ms - one["bare proxy"].p50_ms, 3),
        "edge_rest_mb": round(rest_mb, 1),
        "stack_start_s": round(start_s, 2),
    }


def of_size(size: Size) -> dict[str, float]:
    return {
        "large_tools": size.tools,
        "large_call_cpu_ratio": round(size.call_cpu / size.call_cpu_before, 2),
        "large_list_page_cpu_ms": round(size.list_cpu, 2),
        "large_list_page_tools": size.listed,
        "large_change_cpu_ratio": round(size.change_cpu / size.change_cpu_before, 2),
        "large_change_cpu_ms": round(size.change_cpu, 2),
        "large_edge_mb": round(size.memory, 1),
        "large_edge_ready_s": round(size.ready_s, 2),
    }


def of_tokens(cost: TokenCost) -> dict[str, float]:
    return {"token_warm_us": round(cost.warm_us, 2), "token_cold_us": round(cost.cold_us, 1)}


def show(
    console: Console,
    one: dict[str, Measured],
    many: dict[str, Measured],
    plugged: dict[str, Measured],
    report: dict[str, float],
) -> None:
    table = Table("what", "connections", "calls/s", "p50 ms", "CPU ms a call")
    for results, connections in ((one, 1), (many, 16), (plugged, 16)):
        for name, result in results.items():
            figures = (f"{result.calls_per_s:,.0f}", f"{result.p50_ms:.2f}", f"{result.cpu_ms:.3f}")
            table.add_row(name, str(connections), *figures)
    console.print(table)
    budgets = Table("budget", "measured", "at most", "")
    for label, key, most in (
        ("CPU of the edge / bare proxy", "edge_cpu_ratio", BUDGET_RATIO),
        ("the same with one plugin", "edge_plugin_cpu_ratio", BUDGET_RATIO_PLUGIN),
        ("added latency, one connection (ms)", "added_p50_ms", BUDGET_ADDED_MS),
        ("memory of an edge at rest (MB)", "edge_rest_mb", BUDGET_REST_MB),
        ("start of the stack (s)", "stack_start_s", BUDGET_START_S),
        ("a call with 10,000 tools / with one", "large_call_cpu_ratio", 1.15),
        ("CPU of a filtered page of tools/list (ms)", "large_list_page_cpu_ms", 5.0),
        ("a change with 1,000 upstreams / with two", "large_change_cpu_ratio", 1.3),
        ("memory of an edge with 10,000 tools (MB)", "large_edge_mb", 200.0),
        ("start of an edge with 10,000 tools (s)", "large_edge_ready_s", 5.0),
        ("a token that the edge knows (µs)", "token_warm_us", 10.0),
        ("a token that it does not (µs)", "token_cold_us", 150.0),
    ):
        verdict = "[green]met[/]" if report[key] <= most else "[red]missed[/]"
        budgets.add_row(label, f"{report[key]:g}", f"{most:g}", verdict)
    console.print(budgets)


if __name__ == "__main__":
    sys.exit(main())
