"""Clients of the gateway as anybody would have them: the MCP Python SDK, and REST."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

_TIMEOUT = 30.0


@asynccontextmanager
async def mcp_client(url: str, token: str, mode: Literal["auto", "legacy"] = "auto") -> AsyncGenerator[Client]:
    """A connected client of the SDK with a bearer token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=_TIMEOUT) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http, terminate_on_close=False)
        async with Client(transport, mode=mode, cache=None) as client:
            yield client


def text_of(result: CallToolResult) -> str:
    """The text content of a result."""
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


class Rest:
    """The REST API with one token; errors of the API are raised."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT, trust_env=False
        )

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = await self._http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()

    async def close(self) -> None:
        await self._http.aclose()


async def until(holds: Any, deadline: float, interval: float = 0.05) -> Any:
    """What ``holds()`` answers once that is true, or its last answer when ``deadline`` seconds are over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while True:
        answer = await holds()
        if answer or loop.time() > end:
            return answer
        await asyncio.sleep(interval)
