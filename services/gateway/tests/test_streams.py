import asyncio
from typing import Any, cast

import pytest

from interlock_common.messages.gateway import Session
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until
from interlock_gateway import streams
from interlock_gateway.reply import Reply
from interlock_gateway.sessions import SessionEnd
from interlock_gateway.streams import TOOLS_CHANGED, Streams
from interlock_gateway.testing import FakeMirror


class End:
    """A session that ends when a test says so."""

    over = False

    def reached(self) -> bool:
        return self.over


class Client:
    """Reads a stream; takes nothing while ``reading`` is not set."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = False
        self.reading = asyncio.Event()
        self.reading.set()
        self.leaving = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        self.body += message.get("body", b"")
        self.complete = message.get("more_body") is False

    async def receive(self) -> dict[str, Any]:
        await self.leaving.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_CHECK_SECONDS", 0.02)
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 60.0)


async def opened(open_streams: Streams, client: Client, end: Any) -> asyncio.Task[None]:
    task = asyncio.create_task(open_streams.serve(Reply(client.send), client.receive, end))
    await until(lambda: b": open" in client.body)
    return task


async def test_a_notification_reaches_every_stream_until_its_session_ends() -> None:
    every, end = Streams(), End()
    first, second = Client(), Client()
    tasks = [await opened(every, first, end), await opened(every, second, End())]
    every.broadcast(TOOLS_CHANGED)
    await until(lambda: TOOLS_CHANGED in first.body and TOOLS_CHANGED in second.body)
    end.over = True
    await tasks[0]
    assert first.complete
    assert not tasks[1].done()
    second.leaving.set()
    await tasks[1]


async def test_changes_that_wait_to_be_told_are_told_once() -> None:
    every, client, end = Streams(), Client(), End()
    task = await opened(every, client, end)
    for _ in range(50):
        every.broadcast(TOOLS_CHANGED)
    await until(lambda: TOOLS_CHANGED in client.body)
    end.over = True
    await task
    assert client.body.count(TOOLS_CHANGED) == 1


async def test_a_slow_reader_misses_nothing() -> None:
    every, client, end = Streams(), Client(), End()
    task = await opened(every, client, end)
    client.reading.clear()
    every.broadcast(TOOLS_CHANGED)
    quick_reader = Client()
    other = await opened(every, quick_reader, end)
    every.broadcast(TOOLS_CHANGED)  # told to the quick one at once, while the slow one takes nothing
    await until(lambda: TOOLS_CHANGED in quick_reader.body)
    await asyncio.wait([task], timeout=0.1)  # several checks long
    client.reading.set()
    await until(lambda: TOOLS_CHANGED in client.body)
    end.over = True
    await asyncio.gather(task, other)


async def test_a_reader_that_takes_nothing_any_more_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_SEND_SECONDS", 0.05)
    every, client = Streams(), Client()
    task = await opened(every, client, End())
    client.reading.clear()
    every.broadcast(TOOLS_CHANGED)
    await asyncio.wait_for(task, 5)
    assert not client.complete  # an answer without an end makes the server close the connection


async def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.04)
    client, end = Client(), End()
    task = await opened(Streams(), client, end)
    await until(lambda: client.body.count(b": keep-alive\n\n") >= 2)
    end.over = True
    await task


def test_a_stream_is_over_when_its_token_expires_or_its_session_has_ended() -> None:
    clock = ManualClock()
    mirror: FakeMirror[Session] = FakeMirror({"k": Session("ada@example.com", "2025-11-25", 0)})
    end = SessionEnd(cast("Any", mirror), "k", clock, expires_at=int(clock.time()) + 60)
    assert not end.reached()
    clock.advance(59)
    assert not end.reached()
    clock.advance(1)
    assert end.reached()
    ended = SessionEnd(cast("Any", mirror), "k", clock, expires_at=2**40)
    assert not ended.reached()
    mirror.items.clear()
    assert ended.reached()
