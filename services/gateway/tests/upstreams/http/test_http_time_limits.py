import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

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
from interlock_gateway.upstreams.connections import UpstreamSilent


async def test_silence_is_bounded(serve: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await begin_stream(request)
        await asyncio.Event().wait()
        raise AssertionError

    ways = ways_within(idle_timeout=0.05)
    with pytest.raises(UpstreamSilent, match="notes did not answer in time"):
        await all_of(http_over(ways), request_to(await serve(handler)))
    await ways.stop()


@pytest.mark.parametrize("chatter", [b": still here\n\n", event(PROGRESS)])
@pytest.mark.parametrize("resets", [True, False])
async def test_only_messages_count_as_signs_of_life_and_only_where_they_may(
    serve: Any, chatter: bytes, *, resets: bool
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        stream = await begin_stream(request)
        for _ in range(6):
            await stream.write(chatter)
            await asyncio.sleep(0.1)
        await stream.write(event(result_of(asked["id"])))
        return stream

    ways = ways_within(idle_timeout=0.3, progress_resets=resets)
    call = all_of(http_over(ways), request_to(await serve(handler)))
    if resets and PROGRESS in chatter:
        assert len(await call) == 7
    else:
        with pytest.raises(UpstreamSilent):
            await call
    await ways.stop()


async def test_an_upstream_is_not_idle_while_it_waits_for_the_client(serve: Any) -> None:
    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        stream = await begin_stream(request)
        await stream.write(event(b'{"jsonrpc":"2.0","id":1,"method":"elicitation/create"}'))
        server.noted.clear()
        await server.noted.wait()
        await stream.write(event(result_of(message["id"])))
        return stream

    server = LegacyServer(on_call)
    ways = ways_within(idle_timeout=0.2)
    async with http_over(ways).open(request_to(await serve(server), **LEGACY)) as exchange:
        await anext(aiter(exchange))
        answering = asyncio.get_running_loop().call_later(
            0.4, lambda: ways.in_background(exchange.answer(result_of(1)))
        )
        assert RESULT in await anext(aiter(exchange))
        answering.cancel()
    await ways.stop()


async def test_the_hard_maximum_ends_an_upstream_that_sends_events_for_ever(serve: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await begin_stream(request)
        while True:
            await stream.write(event(PROGRESS))
            await asyncio.sleep(0.01)

    strict = ways_within(call_timeout=0.3)
    with pytest.raises(UpstreamSilent):
        await all_of(http_over(strict), request_to(await serve(handler)))
    await strict.stop()
