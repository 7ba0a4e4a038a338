"""A connection that its server is about to give up is not used for a call."""

import asyncio
from typing import Any

import pytest

from interlock_gateway.testing.servers import result_of
from interlock_gateway.testing.upstreams import all_of, http_over, request_to, ways_within
from interlock_gateway.upstreams import connections


async def _connections_of_two_calls(idle: float) -> int:
    """How many connections two calls in a row take, ``idle`` seconds apart."""
    opened = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
                request = await reader.readexactly(length)
                body = result_of(int(request.partition(b'"id":')[2].partition(b",")[0]))
                lines = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                writer.write(lines % len(body) + body)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    ways = ways_within()
    http = http_over(ways)
    request: Any = request_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp")
    await all_of(http, request)
    await asyncio.sleep(idle)
    await all_of(http, request)
    await ways.stop()
    server.close()
    await server.wait_closed()
    return opened


async def test_a_connection_is_used_again_at_once() -> None:
    assert await _connections_of_two_calls(0) == 1


async def test_a_connection_that_was_idle_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_KEPT_IDLE_SECONDS", 0.05)
    assert await _connections_of_two_calls(0.1) == 2


def test_idle_connections_are_kept_for_less_time_than_common_servers_keep_them() -> None:
    assert connections._KEPT_IDLE_SECONDS < 5  # pyright: ignore[reportPrivateUsage]
