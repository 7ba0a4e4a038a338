"""Upstreams that are no HTTP servers, in a whole deployment: a command, a worker, a server that dials in."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError

from interlock_common.enrolment import enrol
from interlock_common.identity import Identity
from stories.clients import Mode, mcp_client, text_of
from stories.deployment import wait_for
from stories.processes import Executed
from stories.stage import Stage

ROOT = Path(__file__).parents[2]
SERVER = [sys.executable, str(ROOT / "services" / "gateway" / "tests" / "connector" / "sdk_server.py")]
BOTH_ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


def gateway(stage: Stage, name: str) -> dict[str, Any]:
    with stage.deployment.rest(stage.token) as client:
        found: list[dict[str, Any]] = client.get("/gateways").raise_for_status().json()
    return next((one for one in found if one["name"] == name), dict[str, Any]())


@contextmanager
def registered(stage: Stage, name: str, **body: Any) -> Generator[dict[str, Any]]:
    with stage.deployment.rest(stage.token) as client:
        made = client.post("/gateways", json={"name": name, **body}).raise_for_status().json()
        try:
            yield made
        finally:
            client.delete(f"/gateways/{made['id']}").raise_for_status()


@contextmanager
def running(stage: Stage, name: str, command: list[str], environment: Mapping[str, str]) -> Generator[Executed]:
    process = Executed(command, os.environ | dict(environment), stage.deployment.state.log(name))
    try:
        yield process
    finally:
        process.kill()
        process.wait(5)


@asynccontextmanager
async def having(stage: Stage, tool: str, mode: Mode = "auto") -> AsyncGenerator[Client]:
    """A client to which ``tool`` is shown."""
    async with mcp_client(stage.mcp, stage.token, mode) as client:
        assert tool in {one.name for one in (await client.list_tools()).tools}
        yield client


@BOTH_ERAS
async def test_a_command_is_an_upstream_and_comes_back_when_it_is_killed(stage: Stage, mode: Mode) -> None:
    with registered(stage, "both", transport="stdio", command={"argv": SERVER}) as made:
        assert made["reachable"]
        async with having(stage, "both-pid", mode) as client:
            pid = int(text_of(await client.call_tool("both-pid")))
            assert int(text_of(await client.call_tool("both-pid"))) == pid
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not Path(f"/proc/{pid}/cmdline").exists(), "the end of the command")
            assert int(text_of(await client.call_tool("both-pid"))) != pid
    wait_for(lambda: not commands(), "the end of what was deleted", 15)


async def test_a_killed_connector_leaves_no_command_and_is_replaced(stage: Stage) -> None:
    with registered(stage, "both", transport="stdio", command={"argv": SERVER}):
        async with having(stage, "both-pid") as client:
            await client.call_tool("both-pid")
            stage.deployment.kill("connector")
            wait_for(lambda: not commands(), "the end of the commands", 15)
            with pytest.raises(MCPError, match="upstream both is away"):
                await client.call_tool("both-pid")
            stage.deployment.start_process("connector", "connector")
            stage.deployment.wait_ready()
            async with asyncio.timeout(30):
                while not await answers(client, "both-pid"):
                    pass  # nobody answers until the lease of the killed one is over; each try takes its time


@BOTH_ERAS
async def test_a_server_that_dials_in_is_an_upstream_until_it_leaves(stage: Stage, mode: Mode) -> None:
    command = [str(Path(sys.executable).with_name("interlock")), "connect", "--name", "far", "--", *SERVER]
    environment = {"INTERLOCK_URL": stage.deployment.url, "INTERLOCK_TOKEN": stage.token}
    with running(stage, "connect", command, environment):
        wait_for(lambda: gateway(stage, "far").get("reachable", False), "a server that dialled in")
        async with having(stage, "far-pid", mode) as client:
            assert text_of(await client.call_tool("far-pid")).isdigit()
        with stage.deployment.rest(stage.token) as rest:
            (session,) = rest.get("/reverse-proxy/sessions").raise_for_status().json()
        assert session["name"] == "far"
        assert stage.token not in cmdlines()
    wait_for(lambda: not gateway(stage, "far")["reachable"], "its end")
    with stage.deployment.rest(stage.token) as rest:
        assert rest.get("/reverse-proxy/sessions").json() == []
        rest.delete(f"/gateways/{gateway(stage, 'far')['id']}").raise_for_status()


async def test_a_worker_is_an_upstream(stage: Stage) -> None:
    deployment = stage.deployment
    state = deployment.state
    identity = Identity("worker", state.trust_domain, state.identity("worker"))
    await enrol(identity, deployment.placement.enrolment_url, state.join / "worker", timeout=20)
    environment = {"IDENTITY_DIR": str(identity.directory), "BUS_URL": deployment.placement.bus_url}
    command = [sys.executable, str(ROOT / "examples" / "worker.py")]
    with running(stage, "worker", command, environment):
        log = state.log("worker")
        wait_for(lambda: "is ready" in log.read_text(), "a ready worker")
        with registered(stage, "sums", transport="worker", url="worker://sums"):
            async with having(stage, "sums-add") as client:
                assert text_of(await client.call_tool("sums-add", {"a": 40, "b": 2})) == "42"


async def answers(client: Client, tool: str) -> bool:
    try:
        return not (await client.call_tool(tool)).is_error
    except MCPError:
        return False


def cmdlines() -> str:
    return " ".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def commands() -> list[str]:
    return [line for line in map(_read, Path("/proc").glob("[0-9]*/cmdline")) if line.startswith(" ".join(SERVER))]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
