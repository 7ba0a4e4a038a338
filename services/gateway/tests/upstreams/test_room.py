"""Large answers share what memory there is for them, and small ones are never in their way."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from interlock_common.testing.waiting import until
from interlock_gateway.testing.upstreams import all_of, http_over, request_to, ways_within
from interlock_gateway.upstreams.room import NoRoom, Room, Share

MIB = 1024 * 1024


def test_small_answers_take_nothing() -> None:
    room = Room(MIB)
    for number in range(100):
        Share(room, f"u{number}", "upstream n").hold(256 * 1024)
    assert room.take("another", MIB // 2)


def test_one_upstream_gets_half_and_all_get_the_whole() -> None:
    room = Room(4 * MIB)
    first, second, third = (Share(room, upstream, "upstream n") for upstream in ("u1", "u2", "u3"))
    with pytest.raises(NoRoom, match="upstream n answers at length"):
        first.hold(3 * MIB)
    first.hold(2 * MIB)
    second.hold(2 * MIB)
    with pytest.raises(NoRoom):
        third.hold(MIB)
    first.hold(0)
    third.hold(MIB)


def test_what_a_share_held_is_given_back_once() -> None:
    room = Room(MIB)
    share = Share(room, "u1", "upstream n")
    for size in (500_000, 300_000, 700_000, 0, 0):
        share.hold(size)
    assert room.take("u1", MIB // 2)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_long_answer_that_finds_no_room_is_told_so_and_a_later_one_goes_through(serve: Any, kind: str) -> None:
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        text = b"x" * (700 * 1024)
        message = b'{"jsonrpc":"2.0","id":%d,"result":{"x":"%s"}}' % ((await request.json())["id"], text)
        whole = b"data: " + message + b"\n\n" if "event" in kind else message
        await response.write(whole[:-10])
        await go_on.wait()
        await response.write(whole[-10:])
        return response

    ways = ways_within(max_answer=MIB)
    ways.room.most = MIB
    http = http_over(ways)
    request = request_to(await serve(answer))
    first = asyncio.create_task(all_of(http, request))
    await until(lambda: ways.room.taken > 400 * 1024)
    with pytest.raises(NoRoom):
        await all_of(http, request)
    go_on.set()
    assert len(await first) == 1
    assert len(await all_of(http, request)) == 1
    assert ways.room.taken == 0
    await ways.stop()
