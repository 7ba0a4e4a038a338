"""Answers, and readers that take nothing."""

import asyncio
from typing import Any

import pytest

from interlock_common.testing.waiting import until
from interlock_gateway.endpoints import leaving, reply
from interlock_gateway.endpoints.leaving import while_connected
from interlock_gateway.endpoints.reply import Gone, Reply
from interlock_gateway.testing.asking import modern_call
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.servers import upstream_at


class Reader:
    """Takes ``takes`` messages of an answer, and then no more."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.taken: list[dict[str, Any]] = []

    async def take(self, message: dict[str, Any]) -> None:
        if len(self.taken) >= self.takes:
            await asyncio.Event().wait()
        self.taken.append(message)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(leaving, "_PATIENCE_SECONDS", 0)


@pytest.mark.parametrize("takes", [1, 2])
async def test_a_reader_that_takes_nothing_counts_as_gone(takes: int) -> None:
    answer = Reply(Reader(takes).take)

    async def say() -> None:
        for _ in range(2):
            await answer.event(b"{}")

    with pytest.raises(Gone):
        await say()
    assert answer.lost.is_set()


async def test_a_large_answer_goes_in_parts_each_with_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "_PART", 10)
    reader = Reader(100)
    body = bytes(range(95))
    await Reply(reader.take).json(body)
    assert b"".join(part["body"] for part in reader.taken[1:]) == body
    assert [part["more_body"] for part in reader.taken[1:]] == [True] * 9 + [False]
    for empty in (b"", b"x" * 10):
        reader.taken.clear()
        await Reply(reader.take).json(empty)
        assert [part["body"] for part in reader.taken[1:]] == [empty]


async def test_what_runs_for_a_reader_that_is_lost_ends_even_if_only_a_sign_of_life_told_so() -> None:
    answer = Reply(Reader(1).take)

    async def never() -> dict[str, Any]:
        return await asyncio.Future()

    async def work() -> None:
        async with while_connected(never, answer.lost):
            await asyncio.wait_for(asyncio.Event().wait(), 5)

    working, told = asyncio.create_task(work()), asyncio.create_task(answer.keep_alive())
    outcomes = await asyncio.gather(working, told, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Gone, Gone]


async def test_a_stateless_stream_whose_reader_takes_nothing_is_let_go() -> None:
    world, reader = EdgeWorld(), Reader(2)
    headers, body = modern_call("subscriptions/listen", None, notifications={"toolsListChanged": True})
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    pairs.append((b"authorization", f"Bearer {world.signer.token(teams=['red'])}".encode()))
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop()

    scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": pairs, "client": ("192.0.2.1", 5)}
    serving = asyncio.create_task(world.endpoint()(scope, receive, reader.take, None))
    await until(lambda: len(reader.taken) == 2)
    world.register(upstream_at("http://x/"))
    await asyncio.wait_for(serving, 5)
    assert len(reader.taken) == 2
