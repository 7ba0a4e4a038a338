"""The harness measures what it says: the balancer keeps no affinity and holds nothing back, the report is exact."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web
from harness import report
from harness.cells import CLIENT_SCENARIOS, cells
from harness.round_robin import round_robin
from harness.suite import HERE, Check, Outcome

from interlock_common.ports import choose_free


@asynccontextmanager
async def edge(name: str, release: asyncio.Event) -> AsyncGenerator[str]:
    """Answers its name, what it was sent, or an event stream whose second event waits for ``release``."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path != "/events":
            seen = {"edge": name, "host": request.headers["Host"], "body": await request.text()}
            return web.json_response(seen, headers={"X-Edge": name})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await release.wait()
        await response.write(b"data: 2\n\n")
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    (port,) = choose_free(1)
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_each_request_of_one_connection_goes_to_the_next_edge() -> None:
    release = asyncio.Event()
    async with (
        edge("one", release) as one,
        edge("two", release) as two,
        edge("three", release) as three,
        round_robin([one, two, three]) as (url, balancer),
        httpx.AsyncClient(trust_env=False) as http,
    ):
        seen = [(await http.post(f"{url}/x?y=1", content="hello")).json() for _ in range(6)]
        assert [each["edge"] for each in seen] == ["one", "two", "three"] * 2
        assert {each["host"] for each in seen} == {url.removeprefix("http://")}
        assert {each["body"] for each in seen} == {"hello"}
        assert set(balancer.served.values()) == {2}


async def test_an_event_arrives_before_the_next_one_is_sent() -> None:
    release = asyncio.Event()
    async with (
        edge("one", release) as one,
        round_robin([one]) as (url, _),
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("GET", f"{url}/events") as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "data: 1"
        release.set()
        assert [line async for line in lines if line] == ["data: 2"]


async def test_an_edge_that_is_gone_is_a_bad_gateway() -> None:
    (nobody,) = choose_free(1)
    async with (
        round_robin([f"http://127.0.0.1:{nobody}"]) as (url, _),
        httpx.AsyncClient(trust_env=False) as http,
    ):
        assert (await http.get(url)).status_code == 502


def test_the_document_counts_each_cell_and_names_what_was_missed(tmp_path: Path) -> None:
    fine = Outcome("ping", "2025-11-25", (Check("ping", "SUCCESS", "", ""), Check("x", "WARNING", "", "")))
    missed = Outcome("caching", "2026-07-28", (Check("caching", "FAILURE", "", "no ttlMs"),))
    results = {"direct_modern": [missed], "direct_legacy": [fine], "modern_modern": [fine, missed]}
    report.write(tmp_path / "conformance.json", results)
    one: Any = {"passed": 1, "total": 1, "failed": []}
    both: Any = {"passed": 1, "total": 2, "failed": ["caching"]}
    assert json.loads((tmp_path / "conformance.json").read_text()) == {
        "direct": {**both, "modern": {"passed": 0, "total": 1, "failed": ["caching"]}, "legacy": one},
        "modern_modern": both,
    }


def test_every_cell_has_a_name_of_its_own_and_replicas_are_left_out_when_there_is_one() -> None:
    names = [cell.name for cell in cells(3)]
    assert len(names) == len(set(names))
    assert set(names) - {cell.name for cell in cells(1)} == {"modern_modern_3_replicas", "legacy_legacy_3_replicas"}
    assert len(CLIENT_SCENARIOS) == len(set(CLIENT_SCENARIOS))


def test_the_lock_pins_the_suite_and_names_no_registry() -> None:
    lock = json.loads((HERE / "package-lock.json").read_text())
    assert lock["packages"]["node_modules/@modelcontextprotocol/conformance"]["version"] == "0.2.0-alpha.12"
    installed = [each for path, each in lock["packages"].items() if path]
    assert all("resolved" not in each and each["integrity"].startswith("sha512-") for each in installed)
