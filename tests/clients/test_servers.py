"""Servers that others wrote stand behind the gateway over standard input and output, run by a connector."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from matrix.programs import installed
from matrix.servers import Mode, command, gone, mcp_client, processes_of, publish, said, serve
from matrix.stage import Stage
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, TextResourceContents

pytestmark = [pytest.mark.clients, pytest.mark.asyncio(loop_scope="session")]

BOTH_ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
_SECONDS = 60.0


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    installed()


@BOTH_ERAS
async def test_the_everything_server_offers_tools_resources_and_prompts(ready: Stage, mode: Mode) -> None:
    url = await serve(ready.gateway, f"reference-{mode}", command("server-everything", "stdio"))
    async with mcp_client(url, ready.gateway.token, mode) as client:
        assert {"echo", "get-sum"} <= {tool.name for tool in (await client.list_tools()).tools}
        assert "hello" in said(await client.call_tool("echo", {"message": "hello"}))
        assert "42" in said(await client.call_tool("get-sum", {"a": 40, "b": 2}))
        weather = await client.call_tool("get-structured-content", {"location": "New York"})
        assert {"temperature", "conditions"} <= set(weather.structured_content or {})
        resources = {each.name: str(each.uri) for each in (await client.list_resources()).resources}
        (contents,) = (await client.read_resource(resources["features.md"])).contents
        assert isinstance(contents, TextResourceContents)
        assert contents.text
        assert "simple-prompt" in {each.name for each in (await client.list_prompts()).prompts}
        assert (await client.get_prompt("args-prompt", {"city": "Oslo"})).messages
        reference = PromptReference(name="completable-prompt")
        assert (await client.complete(reference, {"name": "department", "value": "E"})).completion.values


@BOTH_ERAS
async def test_progress_of_a_command_reaches_the_client(ready: Stage, mode: Mode) -> None:
    url = await serve(ready.gateway, f"slow-{mode}", command("server-everything", "stdio"))
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        del total, message
        seen.append(progress)

    async with mcp_client(url, ready.gateway.token, mode) as client:
        arguments = {"duration": 0.2, "steps": 2}
        result = await client.call_tool("trigger-long-running-operation", arguments, progress_callback=on_progress)
    assert "completed" in said(result)
    assert seen == [1, 2]


async def test_the_filesystem_server_reaches_its_folder_and_nothing_else(ready: Stage, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note", encoding="utf-8")
    url = await serve(ready.gateway, "files", command("server-filesystem", str(tmp_path)))
    async with mcp_client(url, ready.gateway.token) as client:
        assert "a note" in said(await client.call_tool("read_text_file", {"path": str(tmp_path / "note.txt")}))
        await client.call_tool("write_file", {"path": str(tmp_path / "new.txt"), "content": "written"})
        assert (tmp_path / "new.txt").read_text(encoding="utf-8") == "written"
        refused = await client.call_tool("read_text_file", {"path": "/etc/hostname"})
        assert refused.is_error
        assert "denied" in said(refused)


async def test_the_memory_server_keeps_what_was_written(ready: Stage, tmp_path: Path) -> None:
    kept = tmp_path / "memory.jsonl"
    url = await serve(ready.gateway, "memory", command("server-memory"), MEMORY_FILE_PATH=str(kept))
    ada = {"name": "Ada", "entityType": "person", "observations": ["wrote the first program"]}
    async with mcp_client(url, ready.gateway.token) as client:
        await client.call_tool("create_entities", {"entities": [ada]})
    async with mcp_client(url, ready.gateway.token, "legacy") as client:  # another process reads the same file
        assert "first program" in said(await client.call_tool("search_nodes", {"query": "Ada"}))
    assert "Ada" in kept.read_text(encoding="utf-8")


@BOTH_ERAS
async def test_a_command_that_is_killed_is_there_again(ready: Stage, tmp_path: Path, mode: Mode) -> None:
    folder = tmp_path / "kill-me"
    folder.mkdir()
    url = await serve(ready.gateway, f"killed-{mode}", command("server-filesystem", str(folder)))
    async with mcp_client(url, ready.gateway.token, mode) as client:
        assert "kill-me" in said(await client.call_tool("list_allowed_directories", {}))
        before = processes_of(str(folder))
        assert before
        for pid in before:
            os.kill(pid, signal.SIGKILL)
            await gone(pid)
        async with asyncio.timeout(_SECONDS):
            while True:
                try:
                    answer = said(await client.call_tool("list_allowed_directories", {}))
                except MCPError:
                    await asyncio.sleep(0.2)
                else:
                    break
        assert "kill-me" in answer
        assert processes_of(str(folder)).isdisjoint(before)


async def _registered(stage: Stage, name: str, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(_SECONDS):
        while process.returncode is None:
            for each in await stage.gateway.ask("GET", "/gateways"):
                if each["name"] == name and each["reachable"]:
                    return str(each["id"])
            await asyncio.sleep(0.2)
    pytest.fail(f"interlock connect ended with {process.returncode}")


@asynccontextmanager
async def connected(stage: Stage, name: str, argv: list[str], log: Path) -> AsyncGenerator[str]:
    """``interlock connect`` with a command behind it; the id of the upstream, once its tunnel stands."""
    gateway = stage.gateway
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("interlock")), "connect", "--name", name, "--", *argv),
            env={**os.environ, "INTERLOCK_URL": gateway.edges[0], "INTERLOCK_TOKEN": gateway.token},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield await _registered(stage, name, process)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), _SECONDS)


async def test_a_server_behind_nat_dials_out(ready: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "behind-nat"
    folder.mkdir()
    (folder / "here.txt").write_text("reached", encoding="utf-8")
    argv = command("server-filesystem", str(folder))
    async with connected(ready, "laptop", argv, tmp_path / "connect.log") as upstream:
        url = await publish(ready.gateway, "laptop", upstream)
        async with mcp_client(url, ready.gateway.token) as client:
            assert "reached" in said(await client.call_tool("read_text_file", {"path": str(folder / "here.txt")}))
    for pid in processes_of(str(folder)):
        await gone(pid)
    async with mcp_client(url, ready.gateway.token) as client:
        with pytest.raises(MCPError, match="laptop"):
            await client.call_tool("read_text_file", {"path": str(folder / "here.txt")})
