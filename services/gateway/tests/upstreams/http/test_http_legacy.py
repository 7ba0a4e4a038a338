import asyncio
from typing import Any

import pytest
from aiohttp import web

from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.testing.servers import RESULT, result_of
from interlock_gateway.testing.upstreams import (
    LEGACY,
    PROGRESS,
    LegacyServer,
    all_of,
    begin_stream,
    event,
    request_to,
)
from interlock_gateway.upstreams.http.transport import HttpTransport


async def test_an_upstream_session_is_opened_once_for_each_session_key(http: HttpTransport, serve: Any) -> None:
    server = LegacyServer()
    url = await serve(server)
    answers = await asyncio.gather(*[all_of(http, request_to(url, who, **LEGACY)) for who in ("a", "a", "a", "b")])
    assert all(RESULT in answer[0] for answer in answers)
    assert len(server.begun) == 2
    assert sorted(server.called_with.count(session) for session in set(server.called_with)) == [1, 3]


async def test_a_handshake_tells_what_the_client_can_do_and_settles_the_version(
    http: HttpTransport, serve: Any
) -> None:
    versions: list[str] = []

    async def on_call(request: web.Request, message: Any) -> web.Response:
        versions.append(request.headers["MCP-Protocol-Version"])
        return web.Response(body=result_of(message["id"]), content_type="application/json")

    server = LegacyServer(on_call)
    await all_of(http, request_to(await serve(server), capabilities=b'{"sampling":{}}', **LEGACY))
    assert server.begun[0]["capabilities"] == {"sampling": {}}
    assert server.begun[0]["clientInfo"]["name"] == "interlock"
    assert server.notes == [{"jsonrpc": "2.0", "method": "notifications/initialized"}]
    assert versions == ["2025-06-18"]


@pytest.mark.parametrize("status", [404, 400])
async def test_a_session_that_the_upstream_forgot_is_opened_again(http: HttpTransport, serve: Any, status: int) -> None:
    server = LegacyServer()

    async def handler(request: web.Request) -> web.StreamResponse:
        answer = await server(request)
        if answer.status == 404 and status == 400:
            return web.json_response({"jsonrpc": "2.0", "error": {"message": "No valid session ID"}}, status=400)
        return answer

    url = await serve(handler)
    await all_of(http, request_to(url, **LEGACY))
    server.live.clear()
    assert RESULT in (await all_of(http, request_to(url, **LEGACY)))[0]
    assert server.called_with == ["s1", "s2"]


async def test_an_upstream_that_forgets_every_session_is_an_error_with_a_name(http: HttpTransport, serve: Any) -> None:
    server = LegacyServer()
    server.always_lost = True
    with pytest.raises(UpstreamMisbehaved, match="notes answered HTTP 404"):
        await all_of(http, request_to(await serve(server), **LEGACY))
    assert len(server.begun) == 2


async def refuse(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=401)


async def test_a_refused_handshake_is_an_error_and_is_tried_anew_by_the_next(http: HttpTransport, serve: Any) -> None:
    url = await serve(refuse)
    for who in ("ada", "eve"):
        with pytest.raises(UpstreamMisbehaved, match="notes refused to initialize with HTTP 401"):
            await all_of(http, request_to(url, who, **LEGACY))


async def test_a_question_of_the_upstream_is_answered_on_its_session(http: HttpTransport, serve: Any) -> None:
    question = b'{"jsonrpc":"2.0","id":"q1","method":"roots/list"}'

    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        stream = await begin_stream(request)
        await stream.write(event(question))
        server.noted.clear()
        await server.noted.wait()
        await stream.write(event(result_of(message["id"])))
        return stream

    server = LegacyServer(on_call)
    async with asyncio.timeout(5), http.open(request_to(await serve(server), **LEGACY)) as exchange:
        assert await anext(aiter(exchange)) == question
        await exchange.answer(result_of("q1", b'{"roots":[]}'))
        assert RESULT in await anext(aiter(exchange))
    assert server.notes[-1] == {"jsonrpc": "2.0", "id": "q1", "result": {"roots": []}}


async def test_who_leaves_early_has_the_upstream_told_which_request_ends(http: HttpTransport, serve: Any) -> None:
    asked: list[Any] = []

    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        asked.append(message["id"])
        stream = await begin_stream(request)
        await stream.write(event(PROGRESS))
        await asyncio.Event().wait()
        return stream

    server = LegacyServer(on_call)
    async with asyncio.timeout(5):
        async with http.open(request_to(await serve(server), **LEGACY)) as exchange:
            await anext(aiter(exchange))
            server.noted.clear()
        await server.noted.wait()
    assert server.notes[-1]["method"] == "notifications/cancelled"
    assert server.notes[-1]["params"]["requestId"] == asked[0]


async def test_a_cancelled_call_is_cancelled_at_an_upstream_that_has_not_begun_to_answer(
    http: HttpTransport, serve: Any
) -> None:
    running = asyncio.Event()

    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        del request, message
        server.noted.clear()
        running.set()
        await asyncio.Event().wait()
        raise AssertionError

    server = LegacyServer(on_call)
    call = asyncio.create_task(all_of(http, request_to(await serve(server), **LEGACY)))
    async with asyncio.timeout(5):
        await running.wait()
        call.cancel()
        await asyncio.wait([call])
        await server.noted.wait()
    assert server.notes[-1]["method"] == "notifications/cancelled"


async def test_an_answer_that_the_upstream_breaks_off_is_resumed_after_its_last_event(
    http: HttpTransport, serve: Any
) -> None:
    asked: list[Any] = []
    resumed: list[str] = []

    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        asked.append(message["id"])
        stream = await begin_stream(request)
        await stream.write(b"id: e0\nretry: 10\ndata:\n\n" + event(PROGRESS, "e1"))
        return stream

    async def on_get(request: web.Request) -> web.StreamResponse:
        resumed.append(request.headers["Last-Event-ID"])
        stream = await begin_stream(request)
        if len(resumed) == 2:
            await stream.write(event(result_of(asked[0]), "e3"))
        else:
            await stream.write(b"id: e2\ndata:\n\n")
        return stream

    server = LegacyServer(on_call)
    server.on_get = on_get
    async with asyncio.timeout(5):
        first, answer = await all_of(http, request_to(await serve(server), **LEGACY))
    assert first == PROGRESS
    assert RESULT in answer
    assert resumed == ["e1", "e2"]


async def test_the_end_of_a_session_reaches_the_upstream(http: HttpTransport, serve: Any) -> None:
    server = LegacyServer()
    asked = request_to(await serve(server), **LEGACY)
    await all_of(http, asked)
    await http.end_session(asked.upstream, asked.session_key)
    await http.end_session(asked.upstream, asked.session_key)
    assert server.deleted == ["s1"]
