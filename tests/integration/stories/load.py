"""Steady calls in the background of a story, counted one by one."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from interlock_common.clock import SYSTEM_CLOCK

VERSION = "2026-07-28"


def modern_call(tool: str, arguments: dict[str, object], request_id: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers and body of a stateless ``tools/call``."""
    headers = {"MCP-Protocol-Version": VERSION, "Mcp-Method": "tools/call", "Mcp-Name": tool,
               "Accept": "application/json, text/event-stream"}  # fmt: skip
    meta: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params: dict[str, Any] = {"name": tool, "arguments": arguments, "_meta": meta}
    return headers, {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


@dataclass
class Tally:
    """How the calls went; ``answers`` by what came, ``records`` and ``seconds`` of those that succeeded."""

    answers: Counter[str] = field(default_factory=Counter[str])
    records: list[str] = field(default_factory=list[str])
    seconds: list[float] = field(default_factory=list[float])

    @property
    def failed(self) -> dict[str, int]:
        return {answer: count for answer, count in self.answers.items() if answer != "ok"}


@asynccontextmanager
async def steady_calls(
    url: str,
    token: str,
    tool: str,
    arguments: dict[str, object],
    callers: int,
    *,
    trust: ssl.SSLContext | None = None,
) -> AsyncGenerator[Tally]:
    """Call ``tool`` over and over with ``callers`` at a time until the block ends, over TLS with ``trust``."""
    tally, stopping = Tally(), asyncio.Event()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=20, verify=trust or True) as http:

        async def call_on() -> None:
            number = 0
            while not stopping.is_set():
                number += 1
                tally.answers[await one_call(http, url, tool, arguments, number, tally)] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call_on())
            try:
                yield tally
            finally:
                stopping.set()


async def one_call(
    http: httpx.AsyncClient, url: str, tool: str, arguments: dict[str, object], number: int, tally: Tally
) -> str:
    headers, body = modern_call(tool, arguments, number)
    began = SYSTEM_CLOCK.monotonic()
    try:
        answer = await http.post(url, headers=headers, json=body)
    except httpx.HTTPError as error:
        return type(error).__name__
    if answer.status_code != 200 or '"result"' not in answer.text:
        return f"{answer.status_code} {answer.text[:200]}"
    tally.seconds.append(SYSTEM_CLOCK.monotonic() - began)
    tally.records.append(answer.headers["interlock-audit"])
    return "ok"
