"""A large catalog: what 1,000 upstreams with 10,000 tools cost an edge that serves one of them.

The upstreams are REST endpoints, which need no discovery; half of them the caller may not see.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from load import Target, cpu_seconds, measure, resident_mb

UPSTREAMS, TOOLS_EACH = 1_000, 10
PAGE = 1_000
_AT_A_TIME = 16
_LISTS = 200
_CHANGES = 200
_META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
}  # fmt: skip

type FindEdge = Callable[[], int]


@dataclass
class Size:
    """Measured with everything registered, but for what ends in ``_before``; CPU of the edge in ms, memory in MB."""

    call_cpu_before: float = 0.0
    call_cpu: float = 0.0
    list_cpu: float = 0.0
    listed: int = 0
    change_cpu_before: float = 0.0
    change_cpu: float = 0.0
    memory: float = 0.0
    ready_s: float = 0.0
    tools: int = 0
    notes: list[str] = field(default_factory=list[str])


async def measure_size(ready: dict[str, Any], target: Target, find_edge: FindEdge, *, seconds: float) -> Size:
    """Fill the catalog of the running stack and measure; ``target`` is a tool call that works before and after."""
    size = Size()
    headers = {"Authorization": f"Bearer {ready['token']}"}
    async with httpx.AsyncClient(base_url=ready["url"], headers=headers, timeout=60) as rest:
        size.call_cpu_before = (await measure(target, connections=16, seconds=seconds)).cpu_ms
        (probe,) = await _register(rest, range(1), "probe")
        size.change_cpu_before = await _change(rest, probe, target.pid)
        await _register(rest, range(UPSTREAMS), "crowd")
        size.tools = UPSTREAMS * TOOLS_EACH
        narrow = (await rest.post("/tokens", json={"name": "narrow", "teams": []})).raise_for_status().json()
        await _listed(ready["url"], narrow["token"], 3, target.pid)
        size.list_cpu, size.listed = await _listed(ready["url"], narrow["token"], _LISTS, target.pid)
        size.call_cpu = (await measure(target, connections=16, seconds=seconds)).cpu_ms
        size.change_cpu = await _change(rest, probe, target.pid)
        size.ready_s = await _restart(rest, target.pid, find_edge)
        await _listed(ready["url"], narrow["token"], 3, find_edge())
        size.memory = resident_mb(find_edge())
    return size


def _gateway(name: str, number: int, **changes: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"id": {"type": "string", "description": "which one to look up"}}}
    definitions = [
        {"name": f"look_up_{each}", "description": f"Looks up what is number {each} of {name}", "inputSchema": schema}
        for each in range(TOOLS_EACH)
    ]
    calls = {each["name"]: {"method": "GET", "path": "/things/{id}"} for each in definitions}
    visibility = "private" if number % 2 else "public"
    return {
        "name": f"{name} {number}", "url": "http://127.0.0.1:9/", "transport": "rest", "visibility": visibility,
        "definitions": definitions, "rest": calls,
    } | changes  # fmt: skip


async def _register(rest: httpx.AsyncClient, numbers: range, name: str) -> list[str]:
    places = asyncio.Semaphore(_AT_A_TIME)

    async def one(number: int) -> str:
        async with places:
            answer = await rest.post("/gateways", json=_gateway(name, number))
            return answer.raise_for_status().json()["id"]

    return await asyncio.gather(*(one(number) for number in numbers))


async def _change(rest: httpx.AsyncClient, upstream_id: str, edge: int) -> float:
    """CPU of the edge for one change of one upstream, the request for it included."""
    began = cpu_seconds(edge)
    for number in range(_CHANGES):
        body = _gateway("probe", 0, description=f"changed for the {number}th time")
        (await rest.put(f"/gateways/{upstream_id}", json=body)).raise_for_status()
    return (cpu_seconds(edge) - began) / _CHANGES * 1000


async def _listed(url: str, token: str, times: int, edge: int) -> tuple[float, int]:
    """CPU of the edge for one page, and how many tools were on it."""
    headers = {
        "Authorization": f"Bearer {token}", "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/list",
        "Accept": "application/json, text/event-stream",
    }  # fmt: skip
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": _META}}
    tools: list[Any] = []
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:
        began = cpu_seconds(edge)
        for _ in range(times):
            answer = (await client.post(f"{url}/mcp", json=body)).raise_for_status()
            tools = tools or answer.json()["result"]["tools"]
        return (cpu_seconds(edge) - began) / times * 1000, len(tools)


async def _restart(rest: httpx.AsyncClient, edge: int, find_edge: FindEdge) -> float:
    """Seconds from the new process to its readiness, after the old one was killed; the supervisor starts it."""
    os.kill(edge, signal.SIGKILL)
    began = 0.0
    for _ in range(3_000):
        await asyncio.sleep(0.02)
        if not began and _alive(find_edge) not in {0, edge}:
            began = time.perf_counter()
        if began and await _is_ready(rest):
            return time.perf_counter() - began
    raise SystemExit("error: the edge did not come back")


async def _is_ready(rest: httpx.AsyncClient) -> bool:
    try:
        return (await rest.get("/ready", timeout=2)).is_success
    except httpx.HTTPError:
        return False


def _alive(find_edge: FindEdge) -> int:
    try:
        return find_edge()
    except SystemExit:
        return 0
