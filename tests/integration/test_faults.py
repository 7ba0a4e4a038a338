"""What breaks, what goes on, and what was lost."""

import asyncio
import json
from collections.abc import Generator

import httpx
import pytest

from interlock_common.testing.waiting import until
from stories.clients import mcp_client, text_of
from stories.load import Tally, one_call, steady_calls
from stories.stage import Stage, set_up


@pytest.fixture
def victim(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    """A deployment to break, with two edges on one port."""
    with set_up(tmp_path_factory.mktemp("victim"), containers=containers, gateways=2) as ready:
        yield ready


def intents(stage: Stage) -> set[str]:
    """The ids of all intents in the audit log."""
    found: set[str] = set()
    after = 0
    with stage.deployment.rest(stage.token) as client:
        while True:
            params = {"after": after, "limit": 500}
            page = client.get("/audit/records", params=params).raise_for_status().json()["records"]
            if not page:
                return found
            records = [json.loads(record["leaf"]) for record in page]
            found |= {record["id"] for record in records if record["kind"] == "call.intent"}
            after = max(record["index"] for record in page) + 1


async def test_bus_restart_is_survived(victim: Stage) -> None:
    deployment = victim.deployment
    async with steady_calls(victim.mcp, victim.token, "notes-search_notes", {"query": "x"}, 2) as tally:
        await until(lambda: tally.answers["ok"] >= 20, 30)
        await asyncio.to_thread(deployment.stop_bus)
        await until(lambda: any(answer.startswith("503") for answer in tally.answers), 30)
        await asyncio.to_thread(deployment.start_bus)
        served = tally.answers["ok"]
        await until(lambda: tally.answers["ok"] >= served + 20, 60)
    assert [answer for answer in tally.failed if not answer.startswith("503")] == []
    await asyncio.to_thread(deployment.wait_ready)
    await until(lambda: set(tally.records) <= intents(victim), 30)


async def test_a_session_goes_on_when_its_edge_is_killed(victim: Stage) -> None:
    async with mcp_client(victim.mcp, victim.token, "legacy") as client:
        await client.call_tool("notes-add_note", {"text": "before"})
        victim.deployment.kill("gateway")
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {victim.token}"}) as http:
            tally = Tally()
            assert await one_call(http, victim.mcp, "notes-search_notes", {"query": "x"}, 1, tally) == "ok"
        assert "before" in text_of(await client.call_tool("notes-search_notes", {"query": "before"}))


async def test_edge_reads_no_database(victim: Stage) -> None:
    deployment = victim.deployment
    edge = deployment.processes["gateway"].pid
    with open(f"/proc/{edge}/maps", encoding="ascii") as maps:  # noqa: ASYNC230, PTH123 - a file of the kernel
        loaded = maps.read()
    assert "_sqlite3" not in loaded
    assert "asyncpg" not in loaded
    deployment.pause_database()
    try:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {victim.token}"}) as http:
            for number in range(20):
                tally = Tally()
                assert await one_call(http, victim.mcp, "notes-search_notes", {"query": "x"}, number, tally) == "ok"
    finally:
        deployment.resume_database()
