"""Requests whose heads are too much, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from interlock_common.testing.waiting import until
from interlock_gateway.guard import heads
from interlock_gateway.server import listen, make_server

HEAD = b"POST /x HTTP/1.1\r\nhost: a\r\n"


@dataclass
class App:
    """Reads the whole body and says how long it was; keeps the fields it was given."""

    fields: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        self.fields = scope["headers"]
        body = str(size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(app: App) -> AsyncGenerator[int]:
    listener = listen("127.0.0.1", 0)
    server = make_server(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


async def said(port: int, *parts: bytes, more: Callable[[], bytes] | None = None) -> bytes:
    """What the edge says to these bytes until it closes; ``more`` is dribbled for as long as it takes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            for part in parts:
                writer.write(part)
            reading = asyncio.create_task(_read(reader))
            while more is not None and not reading.done():
                writer.write(more())
                await asyncio.wait([reading], timeout=0.05)
            return await reading
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    """All that comes, also where a connection is reset in the end: somebody still wrote to it."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            answer += piece
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def test_a_head_that_dribbles_in_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.5)
    async with served(App()) as port:
        assert status(await said(port, HEAD, more=lambda: b"x-a: b\r\n")) in {408, 0}


async def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.5)
    async with served(App()) as port:
        assert status(await said(port)) == 408


async def test_the_head_of_a_second_request_must_come_in_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.5)
    async with served(App()) as port:
        answer = await said(port, HEAD + b"content-length: 0\r\n\r\n", more=lambda: b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")  # and then it is over, with 408 where that still arrives


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"x-large: " + b"a" * 200_000 + b"\r\n\r\n",
        HEAD + b"x-large: " + b"a" * 66_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 66_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD + b"x-a: b\r\n" * 101 + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD + b"x-endless: " + b"a" * 100_000,
    ],
)
async def test_a_head_that_is_too_large_is_refused(request_: bytes) -> None:
    app = App()
    async with served(app) as port:
        assert status(await said(port, request_)) in {431, 0}  # reset, where there was more to read
    assert app.fields == []


async def test_a_trailer_without_end_is_cut_off() -> None:
    async with served(App()) as port:
        begun = HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-endless: "
        assert status(await said(port, begun, more=lambda: b"a" * 50_000)) in {0, 431}


async def test_a_trailer_adds_nothing_to_the_fields_of_the_head() -> None:
    app = App()
    async with served(app) as port:
        begun = HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        await said(port, begun, b"1\r\na\r\n0\r\nauthorization: b\r\n\r\n")
    assert [name for name, _ in app.fields] == [b"host", b"connection", b"transfer-encoding"]


async def test_large_bodies_in_small_chunks_pass() -> None:
    async with served(App()) as port:
        chunks = b"".join(b"100\r\n" + b"a" * 256 + b"\r\n" for _ in range(4000)) + b"0\r\n\r\n"
        answer = await said(port, HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n", chunks)
    assert answer.endswith(b"1024000")


async def test_a_body_may_take_longer_than_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.3)
    left = [b"a"] * 40
    async with served(App()) as port:
        answer = await said(
            port, HEAD + b"connection: close\r\ncontent-length: 40\r\n\r\n", more=lambda: left.pop() if left else b""
        )
    assert answer.endswith(b"40")
