"""Servers that ask and tell beside the answer to a call, on the GET stream of the session."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from interlock_common.testing.waiting import until
from interlock_gateway import jsonrpc
from interlock_gateway.testing.servers import RESULT, result_of
from interlock_gateway.testing.upstreams import (
    LEGACY,
    LegacyServer,
    all_of,
    begin_stream,
    event,
    http_over,
    request_to,
    ways_within,
)
from interlock_gateway.upstreams.connections import UpstreamSilent, Ways
from interlock_gateway.upstreams.http import session_streams
from interlock_gateway.upstreams.http.transport import HttpTransport
from interlock_gateway.upstreams.sessions import SHARED
from interlock_gateway.upstreams.transport import UpstreamRequest

ASKED = b'{"jsonrpc":"2.0","id":"q%d","method":"elicitation/create","params":{"message":"who?"}}'
ANSWER = b'{"action":"decline"}'
CAPABLE: dict[str, Any] = {"capabilities": b'{"elicitation":{}}', **LEGACY}
PROGRESS = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}'
CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


class Asking(LegacyServer):
    """A server in the manner of the TypeScript SDK: it asks on the GET stream of the session, one of which it has.

    It drops what it has to say while there is none. ``as_json`` answers calls with a body instead of a stream.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        super().__init__(self._on_call)
        self.on_get = self._on_get
        self.streams: dict[str, web.StreamResponse] = {}
        self.gets: list[Any] = []
        self.conflicts = False
        self.asked = 0
        self.as_json = as_json
        self.ended = asyncio.Event()

    async def _on_get(self, request: web.Request) -> web.StreamResponse:
        session = request.headers["Mcp-Session-Id"]
        self.gets.append((session, request.headers.get("Last-Event-ID")))
        if session in self.streams or self.conflicts:
            return web.Response(status=409)
        stream = self.streams[session] = await begin_stream(request)
        await self.ended.wait()
        return stream

    async def tell(self, message: bytes, event_id: str = "") -> None:
        for stream in self.streams.values():
            await stream.write(event(message, event_id))

    async def _on_call(self, request: web.Request, message: Any) -> web.StreamResponse:
        if message["params"].get("name") == "quick":
            return web.Response(body=result_of(message["id"]), content_type="application/json")
        stream = None if self.as_json else await begin_stream(request)
        self.asked += 1
        asked = f"q{self.asked}"
        await self.tell(ASKED % self.asked)
        await until(lambda: any(note.get("id") == asked for note in self.notes))
        given = next(note for note in self.notes if note.get("id") == asked)
        answer = result_of(message["id"], json.dumps(given).encode())
        if stream is None:
            return web.Response(body=answer, content_type="application/json")
        await stream.write(event(answer))
        return stream


@pytest.fixture
async def server() -> AsyncGenerator[Asking]:
    server = Asking()
    yield server
    server.ended.set()


async def answered(http: HttpTransport, url: str, session_key: str = "ada", **changes: Any) -> list[bytes]:
    """All messages of a call whose client answers what it is asked."""
    heard: list[bytes] = []
    async with asyncio.timeout(8), http.open(request_to(url, session_key, **CAPABLE | changes)) as exchange:
        async for message in exchange:
            heard.append(message)
            envelope = jsonrpc.parse(message)
            if envelope.method == "elicitation/create":
                assert isinstance(envelope.id, str)
                await exchange.answer(jsonrpc.answer(envelope.id, ANSWER))
    return heard


def quick(url: str, session_key: str = "ada", **changes: Any) -> UpstreamRequest:
    return replace(request_to(url, session_key, **CAPABLE | changes), params=b'{"name":"quick"}')


@pytest.mark.parametrize("as_json", [False, True])
async def test_what_a_server_asks_on_the_stream_of_the_session_reaches_the_call_that_runs(
    http: HttpTransport, serve: Any, server: Asking, as_json: bool
) -> None:
    server.as_json = as_json
    url = await serve(server)
    question, answer = await answered(http, url)
    assert question == ASKED % 1
    assert json.loads(answer)["result"]["result"] == json.loads(ANSWER)
    assert len(await answered(http, url)) == 2
    assert server.gets == [("s1", None)]


async def test_calls_that_cannot_be_asked_open_no_stream_and_others_one_for_the_session(
    http: HttpTransport, serve: Any, server: Asking
) -> None:
    url = await serve(server)
    await all_of(http, quick(url, capabilities=b"{}"))
    assert server.gets == []
    for _ in range(5):
        assert RESULT in (await all_of(http, quick(url)))[0]
    await all_of(http, quick(url, "eve"))
    assert server.gets == [("s1", None), ("s2", None)]


async def test_a_server_that_has_no_stream_is_asked_once(http: HttpTransport, serve: Any) -> None:
    gets: list[str] = []

    async def on_get(request: web.Request) -> web.StreamResponse:
        gets.append(request.headers["Mcp-Session-Id"])
        return web.Response(status=405)

    server = LegacyServer()
    server.on_get = on_get
    url = await serve(server)
    for who in ("ada", "ada", "eve"):
        assert RESULT in (await all_of(http, request_to(url, who, **CAPABLE)))[0]
    assert gets == ["s1"]


async def test_a_server_whose_stream_another_edge_has_is_called_without(
    http: HttpTransport, serve: Any, server: Asking
) -> None:
    server.conflicts = True
    url = await serve(server)
    for _ in range(3):
        assert RESULT in (await all_of(http, quick(url)))[0]
    assert len(server.gets) == 1


async def test_a_session_that_was_forgotten_gets_a_stream_of_its_own(
    http: HttpTransport, serve: Any, server: Asking
) -> None:
    url = await serve(server)
    await all_of(http, quick(url))
    server.live.clear()
    assert len(await answered(http, url)) == 2
    assert [session for session, _ in server.gets] == ["s1", "s2"]


async def test_progress_on_the_stream_goes_to_the_call_with_its_token_and_a_question_to_the_latest(
    http: HttpTransport, serve: Any
) -> None:
    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        calls.append(message["params"])
        stream = await begin_stream(request)
        await finish.wait()
        await stream.write(event(result_of(message["id"])))
        return stream

    async def heard(token: str) -> list[bytes]:
        params = b'{"name":"echo","_meta":{"progressToken":%s}}' % token.encode()
        return await all_of(http, replace(request_to(url, **CAPABLE), params=params))

    calls: list[Any] = []
    finish = asyncio.Event()
    server = Asking()
    server.on_call = on_call
    url = await serve(server)
    first = asyncio.create_task(heard('"one"'))
    await until(lambda: len(calls) == 1)
    second = asyncio.create_task(heard("2"))
    await until(lambda: len(calls) == 2)
    await server.tell((PROGRESS % '"one"').encode())
    await server.tell((PROGRESS % "2").encode())
    await server.tell(ASKED % 7)
    await server.tell(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    await until(lambda: {"jsonrpc": "2.0", "id": 1, "result": {}} in server.notes)  # all before it was read
    finish.set()
    assert [b"progress" in message for message in await first] == [True, False]
    to_second = await second
    assert to_second[:2] == [(PROGRESS % "2").encode(), ASKED % 7]
    server.ended.set()


async def test_a_question_while_nothing_runs_is_refused(http: HttpTransport, serve: Any, server: Asking) -> None:
    await all_of(http, quick(await serve(server)))
    await server.tell(ASKED % 1)
    await until(lambda: any(note.get("id") == "q1" for note in server.notes))
    assert server.notes[-1]["error"]["code"] == jsonrpc.METHOD_NOT_FOUND


async def test_while_a_question_is_open_the_silence_of_the_server_is_ours(serve: Any) -> None:
    ways = ways_within(idle_timeout=0.5)
    http = http_over(ways)
    for server in (Asking(), Asking(as_json=True)):
        url = await serve(server)
        async with asyncio.timeout(8), http.open(request_to(url, server.as_json * "json", **CAPABLE)) as exchange:
            assert await anext(exchange) == ASKED % 1
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.2):
                    await anext(exchange)
            await exchange.answer(jsonrpc.answer("q1", ANSWER))
            assert b"decline" in await anext(exchange)
        server.ended.set()
    await ways.stop()


async def test_a_call_that_is_answered_by_nobody_still_ends(serve: Any) -> None:
    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        del request, message
        await asyncio.Event().wait()
        raise AssertionError

    ways = ways_within(idle_timeout=0.3)
    server = Asking()
    server.on_call = on_call
    with pytest.raises(UpstreamSilent):
        await all_of(http_over(ways), request_to(await serve(server), **CAPABLE))
    await until(lambda: any(note.get("method") == "notifications/cancelled" for note in server.notes))
    server.ended.set()
    await ways.stop()


async def test_the_stream_of_a_session_serves_calls_and_subscriptions(
    http: HttpTransport, serve: Any, server: Asking
) -> None:
    url = await serve(server)
    await all_of(http, quick(url))
    upstream = request_to(url, **CAPABLE).upstream
    async with asyncio.timeout(5), http.listen(upstream, "ada", "ada", ()) as changes:
        await server.tell(CHANGED)
        assert await anext(changes) == CHANGED
        assert len(await answered(http, url)) == 2
    assert len(server.gets) == 1


async def test_a_stream_that_nobody_uses_is_closed_after_a_while(
    http: HttpTransport, serve: Any, server: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_streams, "_UNUSED_SHARED_SECONDS", 0.05)
    url = await serve(server)
    await all_of(http, quick(url, f"{SHARED}ada"))
    await all_of(http, quick(url, "ada"))
    shared, own = server.streams["s1"], server.streams["s2"]

    async def until_it_breaks() -> None:
        while True:
            await shared.write(event(CHANGED))
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(until_it_breaks(), 5)
    await own.write(event(CHANGED))


async def test_the_end_of_a_session_ends_its_stream(http: HttpTransport, serve: Any, server: Asking) -> None:
    request = quick(await serve(server))
    await all_of(http, request)
    await http.end_session(request.upstream, request.session_key)

    async def until_it_breaks() -> None:
        while True:
            await server.tell(CHANGED)
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(until_it_breaks(), 5)


async def test_a_stream_that_ends_while_a_call_runs_is_opened_again_after_its_last_event(
    ways: Ways, serve: Any
) -> None:
    gets: list[str | None] = []
    finish = asyncio.Event()

    async def on_get(request: web.Request) -> web.StreamResponse:
        gets.append(request.headers.get("Last-Event-ID"))
        stream = await begin_stream(request)
        if len(gets) == 1:
            await stream.write(b"retry: 100\n" + event(b'{"jsonrpc":"2.0","method":"notifications/message"}', "e1"))
        else:
            await stream.write(event(ASKED % 1))
            await finish.wait()
        return stream

    async def on_call(request: web.Request, message: Any) -> web.StreamResponse:
        stream = await begin_stream(request)
        await until(lambda: any(note.get("id") == "q1" for note in server.notes))
        await stream.write(event(result_of(message["id"])))
        return stream

    server = LegacyServer(on_call)
    server.on_get = on_get
    note, question, answer = await answered(http_over(ways), await serve(server))
    assert b"notifications/message" in note
    assert question == ASKED % 1
    assert RESULT in answer
    assert gets == [None, "e1"]
    finish.set()
