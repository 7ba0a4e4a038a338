"""An upstream that does its worst harms nobody but itself: a well-behaved one is called beside it all the while."""

import asyncio
import json
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from interlock_common.messages.catalog import Limits
from interlock_common.testing.waiting import until
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.testing.servers import RESULT, result_of
from interlock_gateway.testing.upstreams import (
    LEGACY,
    PROGRESS,
    LegacyServer,
    all_of,
    begin_stream,
    event,
    http_over,
    request_to,
    ways_within,
)
from interlock_gateway.upstreams.breaker import UpstreamResting
from interlock_gateway.upstreams.connections import UpstreamBusy
from interlock_gateway.upstreams.http.transport import HttpTransport

MIB = 1024 * 1024


async def hangs(request: web.Request) -> web.StreamResponse:
    del request
    await asyncio.Event().wait()
    raise AssertionError


async def closes(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


async def closes_mid_answer(request: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await stream.prepare(request)
    await stream.write(b'{"jsonrpc":"2.0",')
    assert request.transport is not None
    request.transport.abort()
    return stream


async def sends_50_mb(request: web.Request) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "application/json"})
    await stream.prepare(request)
    for _ in range(50):
        await stream.write(b"[" * MIB)
    return stream


async def sends_an_event_of_50_mb(request: web.Request) -> web.StreamResponse:
    stream = await begin_stream(request)
    await stream.write(b"data: ")
    for _ in range(50):
        await stream.write(b"x" * MIB)
    return stream


async def sends_a_deep_answer(request: web.Request) -> web.StreamResponse:
    del request
    return web.Response(body=event(b'{"id":1,"x":' + b"[" * 60_000), content_type="text/event-stream")


async def sends_no_json(request: web.Request) -> web.StreamResponse:
    del request
    return web.Response(body=event(b"<hello>"), content_type="text/event-stream")


async def sends_events_for_ever(request: web.Request) -> web.StreamResponse:
    stream = await begin_stream(request)
    while True:
        await stream.write(event(PROGRESS) * 100)


async def sends_comments_for_ever(request: web.Request) -> web.StreamResponse:
    stream = await begin_stream(request)
    while True:
        await stream.write(b": hello\n\n" * 100)


async def ends_its_stream_for_ever(request: web.Request) -> web.StreamResponse:
    stream = await begin_stream(request)
    await stream.write(b"id: 1\nretry: 0\ndata:\n\n")
    return stream


async def refuses_its_sessions(request: web.Request) -> web.StreamResponse:
    del request
    return web.Response(status=404)


def after_a_good_handshake(handler: Any) -> LegacyServer:
    server = LegacyServer(lambda request, _message: handler(request))
    server.on_get = handler
    return server


HOSTILE: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = [
    hangs, closes, closes_mid_answer, sends_50_mb, sends_an_event_of_50_mb, sends_a_deep_answer, sends_no_json,
    sends_events_for_ever, sends_comments_for_ever, ends_its_stream_for_ever, refuses_its_sessions,
]  # fmt: skip


HARSH = {"id": "u2", "name": "hostile", "limits": Limits(concurrency=4, idle_timeout=0.3, call_timeout=0.6)}


async def behaves(request: web.Request) -> web.Response:
    message = json.loads(await request.read())
    return web.Response(body=result_of(message["id"]), content_type="application/json")


async def call(http: HttpTransport, url: str, **changes: Any) -> BaseException | list[bytes]:
    try:
        async with http.open(request_to(url, **changes)) as exchange:
            async for _ in exchange:
                pass
    except (UpstreamMisbehaved, UpstreamUnreachable) as error:
        return error
    return []


@pytest.mark.parametrize("era", [{}, LEGACY], ids=["modern", "legacy"])
@pytest.mark.parametrize("handler", HOSTILE, ids=lambda handler: handler.__name__)
async def test_a_hostile_upstream_harms_nobody_beside_it(serve: Any, handler: Any, era: dict[str, Any]) -> None:
    ways = ways_within(max_answer=MIB, connect_timeout=1.0)
    http = http_over(ways)
    hostile = await serve(after_a_good_handshake(handler) if era else handler)
    good = await serve(behaves)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async with asyncio.timeout(60):
        assaults = [asyncio.create_task(call(http, hostile, **HARSH, **era)) for _ in range(30)]
        for _ in range(20):
            assert RESULT in (await all_of(http, request_to(good)))[0]
        outcomes = await asyncio.gather(*assaults)
    assert all(isinstance(outcome, UpstreamMisbehaved | UpstreamUnreachable) for outcome in outcomes)
    assert all("hostile" in str(outcome) for outcome in outcomes)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KiB more than before"
    await ways.stop()


async def test_an_upstream_has_so_many_calls_at_a_time_and_no_more(serve: Any) -> None:
    running = 0
    most = 0
    released = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await released.wait()
        running -= 1
        return await behaves(request)

    ways = ways_within(concurrency=2, connect_timeout=1.0)
    http, url = http_over(ways), await serve(handler)
    calls = [asyncio.create_task(call(http, url)) for _ in range(20)]
    await until(lambda: sum(task.done() for task in calls) >= 10)
    waiting = [task for task in calls if not task.done()]
    done, _ = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert all(isinstance(task.result(), UpstreamBusy) for task in done)
    released.set()
    await asyncio.gather(*calls)
    assert most == 2
    await ways.stop()


async def test_an_upstream_that_is_down_rests_and_is_found_again(serve: Any) -> None:
    ways = ways_within()
    http = http_over(ways)
    down = True

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503) if down else await behaves(request)

    url = await serve(handler)
    outcomes = [await call(http, url) for _ in range(6)]
    assert isinstance(outcomes[-1], UpstreamResting)
    down = False
    async with asyncio.timeout(10):
        while await call(http, url):  # noqa: ASYNC110 - the breaker opens by itself
            await asyncio.sleep(0.05)
    await ways.stop()
