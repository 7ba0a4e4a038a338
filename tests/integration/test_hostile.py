"""Upstreams that do their worst, through a whole deployment: a well-behaved one is called beside them all the while."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from interlock_common.testing.waiting import until
from stories import hostile_server
from stories.hostile_server import CALLS, LISTS
from stories.load import modern_call, steady_calls
from stories.stage import Stage, set_up

_MOST_MIB = 250
_MOST_SECONDS = 5.0
_TIMES = 3
_LIMITS = {"idle_timeout": 2, "call_timeout": 4}


@pytest.fixture
def hostile() -> Generator[str]:
    """Where the hostile server listens, a process of its own."""
    command = [sys.executable, str(Path(hostile_server.__file__))]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


@pytest.fixture
def victim(tmp_path_factory: pytest.TempPathFactory, containers: bool) -> Generator[Stage]:
    with set_up(tmp_path_factory.mktemp("hostile"), containers=containers) as ready:
        yield ready


def peak(stage: Stage, service: str) -> float:
    """The most memory that a service has had so far, in MiB."""
    pid = stage.deployment.processes[service].pid
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def register(stage: Stage, name: str, url: str) -> httpx.Response:
    with stage.deployment.rest(stage.token) as rest:
        return rest.post("/gateways", json={"name": name, "url": url, "limits": _LIMITS}, timeout=60)


async def call(http: httpx.AsyncClient, url: str, tool: str, number: int) -> str:
    """The end of what came for a call of ``tool``; fails when no end comes."""
    headers, body = modern_call(tool, {}, number)
    end = b""
    async with http.stream("POST", url, headers=headers, json=body) as answer:
        async for part in answer.aiter_bytes():
            end = (end + part)[-4096:]
    return f"{answer.status_code} {end.decode(errors='replace')}"


async def test_hostile_upstreams_harm_nobody_else(victim: Stage, hostile: str) -> None:
    names = {each.__name__: each.__name__.replace("_", "-") for each in CALLS}
    for manner, name in names.items():
        answer = await asyncio.to_thread(register, victim, name, f"{hostile}/{manner}/mcp")
        assert answer.status_code in {200, 201}, answer.text
    headers = {"Authorization": f"Bearer {victim.token}"}
    ends: dict[str, list[str]] = {name: [] for name in names.values()}
    async with (
        steady_calls(victim.mcp, victim.token, "notes-search_notes", {"query": "x"}, 2) as tally,
        httpx.AsyncClient(headers=headers, timeout=30) as http,
        asyncio.TaskGroup() as group,
    ):
        await until(lambda: tally.answers["ok"] >= 20, 30)

        async def suffer(name: str) -> None:
            for number in range(_TIMES):
                ends[name].append(await call(http, victim.mcp, f"{name}-do", number))

        for name in names.values():
            group.create_task(suffer(name))
    assert tally.failed == {}
    assert sorted(tally.seconds)[int(len(tally.seconds) * 0.99)] < _MOST_SECONDS
    for name, said in ends.items():
        for each in said:
            assert '"error"' in each, (name, each)
            assert name in each, (name, each)
    assert peak(victim, "gateway") < _MOST_MIB
    assert peak(victim, "catalog") < _MOST_MIB


async def test_hostile_lists_are_refused_and_harm_nobody_else(victim: Stage, hostile: str) -> None:
    refused: dict[str, httpx.Response] = {}
    async with (
        steady_calls(victim.mcp, victim.token, "notes-search_notes", {"query": "x"}, 2) as tally,
        asyncio.TaskGroup() as group,
    ):

        async def introduce(manner: str) -> None:
            url = f"{hostile}/at-once/{manner}/mcp"
            refused[manner] = await asyncio.to_thread(register, victim, manner.replace("_", "-"), url)

        for each in LISTS:
            group.create_task(introduce(each.__name__))
    assert tally.failed == {}
    assert sorted(tally.seconds)[int(len(tally.seconds) * 0.99)] < _MOST_SECONDS
    for manner, answer in refused.items():
        assert 400 <= answer.status_code < 600, (manner, answer.text)
        assert answer.status_code != 500, (manner, answer.text)
        assert hostile in answer.json()["detail"], (manner, answer.text)
    assert peak(victim, "gateway") < _MOST_MIB
    assert peak(victim, "catalog") < _MOST_MIB
    with victim.deployment.rest(victim.token) as rest:
        assert [each["name"] for each in rest.get("/gateways").raise_for_status().json()] == ["notes"]
