"""Servers that others wrote, as commands that a connector runs."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
from harness import node
from harness.gateway import Gateway
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from interlock_common.testing.waiting import until
from matrix.programs import BUILD

type Mode = Literal["auto", "legacy"]

_SECONDS = 60.0


def command(package: str, *arguments: str) -> list[str]:
    """How to run a package of ``@modelcontextprotocol``."""
    entry = BUILD / "node_modules" / "@modelcontextprotocol" / package / "dist" / "index.js"
    return [str(node.node(BUILD)), str(entry), *arguments]


async def serve(gateway: Gateway, name: str, argv: list[str], **environment: str) -> str:
    """Register a command, and answer the URL of an unprefixed server of what it has, once it is served."""
    body: dict[str, Any] = {"name": name, "transport": "stdio", "command": {"argv": argv, "environment": environment}}
    upstream = await gateway.ask("POST", "/gateways", body)
    return await publish(gateway, name, str(upstream["id"]))


async def publish(gateway: Gateway, name: str, upstream: str) -> str:
    """The URL of an unprefixed virtual server over an upstream, once an edge lists its tools."""
    server = await gateway.ask("POST", "/servers", {"name": name, "associated_upstreams": [upstream], "prefix": "none"})
    path = f"/servers/{server['id']}/mcp"
    async with asyncio.timeout(_SECONDS):
        while True:
            if await gateway.tools(path):
                return gateway.edges[0] + path
            await asyncio.sleep(0.1)


@asynccontextmanager
async def mcp_client(url: str, token: str, mode: Mode = "auto") -> AsyncGenerator[Client]:
    """The client of the Python SDK."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=_SECONDS) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def said(result: object) -> str:
    """All text of a result."""
    assert isinstance(result, CallToolResult)
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def processes_of(marker: str) -> set[int]:
    """The processes whose command line holds ``marker``."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in arguments:
                found.add(int(entry.name))
    return found


async def gone(pid: int) -> None:
    """Return when a process has ended."""
    await until(lambda: not Path(f"/proc/{pid}").exists(), _SECONDS)
