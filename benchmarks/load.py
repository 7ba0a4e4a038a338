"""Closed-loop load: connections with one request in flight each, and what the asked process spends per answer.

CPU time is read from ``/proc/PID/stat`` (user and system), so it counts what the kernel does for the process
too and is far less sensitive to a busy machine than a rate is.
"""

import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

_TICK = os.sysconf("SC_CLK_TCK")
_VERSION = "2026-07-28"


@dataclass(frozen=True)
class Target:
    """What is asked: a stateless ``tools/call`` of ``tool`` at ``url``, and the process that pays for it."""

    name: str
    url: str
    tool: str
    pid: int
    token: str = ""
    text: str = "hello, world"

    def request(self) -> bytes:
        parts = urlsplit(self.url)
        meta: dict[str, object] = {
            "io.modelcontextprotocol/protocolVersion": _VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params: dict[str, object] = {"name": self.tool, "arguments": {"text": self.text}, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        lines = [
            f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json",
            "Accept: application/json, text/event-stream", f"MCP-Protocol-Version: {_VERSION}",
            "Mcp-Method: tools/call", f"Mcp-Name: {self.tool}", f"Content-Length: {len(body)}",
        ]  # fmt: skip
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Measured:
    """One step; latencies in seconds."""

    seconds: float
    cpu_seconds: float
    latencies: list[float] = field(default_factory=list[float])
    errors: list[str] = field(default_factory=list[str])

    @property
    def calls_per_s(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU of the asked process per call, in milliseconds."""
        return self.cpu_seconds / max(1, len(self.latencies) + len(self.errors)) * 1000

    @property
    def p50_ms(self) -> float:
        ordered = sorted(self.latencies)
        return ordered[len(ordered) // 2] * 1000 if ordered else float("nan")


class Connection(asyncio.Protocol):
    """A keep-alive connection; ``ask`` sends the request and waits for the whole answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from asyncio's
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._waiting is not None:
            self._waiting.set_result((self._parser.get_status_code(), b"".join(self._body)))
            self._waiting = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.set_exception(exc or ConnectionError("closed"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self._begin()
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()


async def measure(target: Target, *, connections: int, seconds: float, warm_up: float = 1.0) -> Measured:
    """Ask with ``connections`` at a time for ``seconds``, after a warm-up that does not count."""
    parts = urlsplit(target.url)
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(Connection, parts.hostname or "", parts.port or 80))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(_drive(c, target, loop.time() + warm_up, Measured(0, 0)) for c in opened))
    cpu, began = cpu_seconds(target.pid), time.perf_counter()
    result = Measured(0, 0)
    await asyncio.gather(*(_drive(c, target, loop.time() + seconds, result) for c in opened))
    result.seconds = time.perf_counter() - began
    result.cpu_seconds = cpu_seconds(target.pid) - cpu
    for connection in opened:
        connection.close()
    return result


async def _drive(connection: Connection, target: Target, until: float, result: Measured) -> None:
    request, expected = target.request(), target.text.encode()
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        began = time.perf_counter()
        status, body = await connection.ask(request)
        if status == 200 and expected in body and b'"result"' in body:  # noqa: PLR2004
            result.latencies.append(time.perf_counter() - began)
        else:
            result.errors.append(f"{status} {body[:200].decode(errors='replace')}")


def cpu_seconds(pid: int) -> float:
    """User and system time a process has used so far (proc(5))."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB (10^6 bytes)."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
