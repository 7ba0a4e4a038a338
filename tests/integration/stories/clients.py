"""A real MCP client (the Python SDK) in front of the gateway."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

type Mode = Literal["auto", "legacy"]


@asynccontextmanager
async def mcp_client(url: str, token: str, mode: Mode = "auto") -> AsyncGenerator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def text_of(result: object) -> str:
    """The text of a result's only content block."""
    assert isinstance(result, CallToolResult)
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


def record_of(result: object) -> str:
    """The id of the audit record that a result names."""
    assert isinstance(result, CallToolResult)
    assert result.meta is not None
    return str(result.meta["dev.interlock/audit"])
