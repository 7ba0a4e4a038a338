import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from aiohttp import web

from interlock_common.messages.gateway import DESCRIBE
from interlock_common.testing.waiting import until
from interlock_gateway.errors import UpstreamMisbehaved, UpstreamUnreachable
from interlock_gateway.testing.servers import RESULT, result_of
from interlock_gateway.testing.upstreams import LEGACY, all_of, begin_stream, event, request_to, ways_within
from interlock_gateway.upstreams.connections import UpstreamSilent, Ways
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.http.listening import ListenUnsupported
from interlock_gateway.upstreams.http.sse import SseTransport
from interlock_gateway.upstreams.room import NoRoom
from interlock_gateway.upstreams.transport import UpstreamRequest

UPDATED = b'{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"n:1"}}'
QUESTION = b'{"jsonrpc":"2.0","id":"q1","method":"roots/list"}'


class SseServer:
    """An upstream of 2024-11-05: GET opens a stream, messages are posted to ``/messages?session=<n>``."""

    def __init__(self) -> None:
        self.streams: dict[str, web.StreamResponse] = {}
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.endpoint = "/messages?session={}"
        self.answering = True
        self.ends: asyncio.Event = asyncio.Event()
        self.connections: list[asyncio.Transport] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await self._stream(request)
        session = request.query["session"]
        if session not in self.streams:
            return web.Response(status=404)
        message = json.loads(await request.read())
        self.said.append((session, message))
        if "id" in message and "method" in message:
            await self._take(session, message)
        return web.Response(status=202)

    async def say(self, data: bytes, session: str = "1") -> None:
        await self.streams[session].write(b"event: message\n" + event(data))

    def heard(self, method: str) -> list[dict[str, Any]]:
        return [message for _, message in self.said if message.get("method") == method]

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.connections.append(request.transport)
        session = str(len(self.streams) + 1)
        stream = self.streams[session] = await begin_stream(request)
        await stream.write(b"event: endpoint\n" + event(self.endpoint.format(session).encode()))
        ends = self.ends
        try:
            await ends.wait()
        finally:
            del self.streams[session]
            self.streams[f"{session} was"] = stream
        return stream

    async def _take(self, session: str, message: Any) -> None:
        if message["method"] == "initialize":
            result = b'{"protocolVersion":"2024-11-05","capabilities":{}}'
            await self.say(result_of(message["id"], result), session)
        elif self.answering:
            await self.say(result_of(message["id"]), session)

    def end_streams(self) -> None:
        self.ends.set()
        self.ends = asyncio.Event()


@pytest.fixture
async def sse(ways: Ways) -> AsyncGenerator[SseTransport]:
    transport = SseTransport(ways, Credentials({}))
    yield transport
    await transport.stop()


@pytest.fixture
def server() -> SseServer:
    return SseServer()


def asking(url: str, key: str = "ada", **changes: Any) -> UpstreamRequest:
    return request_to(url, key, **LEGACY, transport="sse", **changes)


async def test_requests_of_one_key_share_a_stream_and_each_gets_its_own_answer(
    sse: SseTransport, server: SseServer, serve: Any
) -> None:
    url = await serve(server)
    answers = await asyncio.gather(*[all_of(sse, asking(url, key)) for key in ("ada", "ada", "ada", "eve")])
    assert all(RESULT in answer[0] and len(answer) == 1 for answer in answers)
    assert len({json.loads(answer[0])["id"] for answer in answers}) == 4
    assert len(server.streams) == 2
    assert len(server.heard("notifications/initialized")) == 2


async def test_a_handshake_tells_what_the_client_can_do(sse: SseTransport, server: SseServer, serve: Any) -> None:
    await all_of(sse, asking(await serve(server), capabilities=b'{"roots":{}}'))
    assert server.heard("initialize")[0]["params"]["capabilities"] == {"roots": {}}


async def test_what_a_client_says_goes_to_its_own_stream_and_opens_none(
    sse: SseTransport, server: SseServer, serve: Any
) -> None:
    request = asking(await serve(server))
    note = b'{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}'
    await sse.notify(request.upstream, "ada", "ada", note)
    assert not server.streams
    await all_of(sse, request)
    await sse.notify(request.upstream, "eve", "eve", note)
    await sse.notify(request.upstream, "ada", "ada", note)
    assert len(server.heard("notifications/roots/list_changed")) == 1


async def test_what_an_upstream_is_was_said_in_its_handshake(sse: SseTransport, server: SseServer, serve: Any) -> None:
    plain = asking(await serve(server))
    question = UpstreamRequest(plain.upstream, DESCRIBE, "", b"{}", "ada", "ada")
    (answer,) = await all_of(sse, question)
    assert json.loads(answer)["result"] == {"era": "legacy", "protocolVersion": "2024-11-05", "capabilities": {}}
    assert not server.heard(DESCRIBE)


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:1/messages", "//evil.example/messages", "https://evil.example/", "http://[", "x" * 3000],
)
async def test_messages_go_to_no_other_origin(sse: SseTransport, server: SseServer, serve: Any, endpoint: str) -> None:
    server.endpoint = endpoint
    with pytest.raises(UpstreamMisbehaved, match="notes wants its messages at an address of another origin"):
        await all_of(sse, asking(await serve(server)))
    assert server.said == []


async def test_a_question_reaches_the_exchange_that_runs_and_its_answer_the_upstream(
    sse: SseTransport, server: SseServer, serve: Any
) -> None:
    server.answering = False
    async with asyncio.timeout(5), sse.open(asking(await serve(server))) as exchange:
        await server.say(QUESTION)
        assert await anext(aiter(exchange)) == QUESTION
        await exchange.answer(result_of("q1"))
        await until(lambda: server.said[-1][1].get("id") == "q1")
        await server.say(result_of(server.heard("tools/call")[0]["id"]))
        assert RESULT in await anext(aiter(exchange))


async def test_progress_reaches_the_exchange_with_its_token(sse: SseTransport, server: SseServer, serve: Any) -> None:
    server.answering = False
    url = await serve(server)

    def with_token(token: str) -> UpstreamRequest:
        plain = asking(url)
        params = msgspec.json.encode({"name": "echo", "_meta": {"progressToken": token}})
        return UpstreamRequest(plain.upstream, plain.method, plain.name, params, "ada", "ada")

    async with asyncio.timeout(5), sse.open(with_token("a")) as first, sse.open(with_token("b")):
        progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"a","progress":1}}'
        await server.say(progress)
        assert await anext(aiter(first)) == progress


async def test_a_question_while_nothing_runs_is_answered_for_lack_of_a_client(
    sse: SseTransport, server: SseServer, serve: Any
) -> None:
    await all_of(sse, asking(await serve(server)))
    await server.say(QUESTION)
    await server.say(b'{"jsonrpc":"2.0","id":"p1","method":"ping"}')
    await until(lambda: {"q1", "p1"} <= {message.get("id") for _, message in server.said})
    answers = {message["id"]: message for _, message in server.said if message.get("id") in ("q1", "p1")}
    assert answers["q1"]["error"]["code"] == -32601
    assert answers["p1"]["result"] == {}


async def test_who_leaves_early_has_the_upstream_told_which_request_ends(
    sse: SseTransport, server: SseServer, serve: Any
) -> None:
    server.answering = False
    async with sse.open(asking(await serve(server))):
        pass
    await until(lambda: bool(server.heard("notifications/cancelled")))
    (cancelled,) = server.heard("notifications/cancelled")
    assert cancelled["params"]["requestId"] == server.heard("tools/call")[0]["id"]


async def test_a_stream_that_was_lost_fails_what_waits_and_is_opened_again_for_the_next(
    sse: SseTransport, server: SseServer, serve: Any
) -> None:
    server.answering = False
    url = await serve(server)
    async with asyncio.timeout(5), sse.open(asking(url)) as exchange:
        server.end_streams()
        with pytest.raises(UpstreamUnreachable, match="notes ended its stream"):
            await anext(aiter(exchange))
    server.answering = True
    assert RESULT in (await all_of(sse, asking(url)))[0]
    assert len(server.heard("initialize")) == 2


async def test_a_stream_that_the_upstream_does_not_know_any_more_is_replaced(
    sse: SseTransport, server: SseServer, serve: Any
) -> None:
    url = await serve(server)
    await all_of(sse, asking(url))
    server.streams["1 forgotten"] = server.streams.pop("1")
    server.streams["0"] = server.streams["1 forgotten"]
    assert RESULT in (await all_of(sse, asking(url)))[0]
    assert len(server.heard("initialize")) == 2


async def test_a_stream_that_nobody_uses_is_closed(ways: Ways, server: SseServer, serve: Any) -> None:
    transport = SseTransport(ways, Credentials({}), unused_seconds=0.05)
    await all_of(transport, asking(await serve(server)))
    await until(server.connections[0].is_closing)
    assert not transport._streams  # pyright: ignore[reportPrivateUsage]
    await transport.stop()


async def test_updates_of_resources_reach_those_who_listen(sse: SseTransport, server: SseServer, serve: Any) -> None:
    upstream = asking(await serve(server)).upstream
    async with asyncio.timeout(5), sse.listen(upstream, "ada", "ada", ["n:1"]) as notifications:
        assert server.heard("resources/subscribe")[0]["params"] == {"uri": "n:1"}
        await server.say(UPDATED)
        assert await anext(aiter(notifications)) == UPDATED
        server.end_streams()
        assert [message async for message in notifications] == []


async def test_a_refused_subscription_is_told(sse: SseTransport, server: SseServer, serve: Any) -> None:
    server.answering = False
    upstream = asking(await serve(server)).upstream

    async def refuse() -> None:
        await until(lambda: bool(server.heard("resources/subscribe")))
        asked = server.heard("resources/subscribe")[0]["id"]
        await server.say(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32601,"message":"no"}}' % asked)

    refusing = asyncio.create_task(refuse())
    with pytest.raises(ListenUnsupported):
        async with sse.listen(upstream, "ada", "ada", ["n:1"]):
            pass
    await refusing


async def test_silence_ends_the_exchange_and_not_the_stream(server: SseServer, serve: Any) -> None:
    ways = ways_within(idle_timeout=0.2)
    transport = SseTransport(ways, Credentials({}))
    server.answering = False
    url = await serve(server)
    with pytest.raises(UpstreamSilent, match="notes did not answer in time"):
        await all_of(transport, asking(url))
    server.answering = True
    assert RESULT in (await all_of(transport, asking(url)))[0]
    assert len(server.heard("initialize")) == 1
    await transport.stop()
    await ways.stop()


async def test_an_upstream_that_floods_an_exchange_is_cut_off(sse: SseTransport, server: SseServer, serve: Any) -> None:
    server.answering = False
    async with asyncio.timeout(5), sse.open(asking(await serve(server))) as exchange:
        for _ in range(80):
            await server.say(b'{"jsonrpc":"2.0","method":"notifications/message","params":"%s"}' % (b"x" * 1000))
        inbox = sse._streams["u1", "ada"].pending[exchange._id].inbox  # pyright: ignore[reportPrivateUsage]
        await until(lambda: inbox._error is not None)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(UpstreamMisbehaved, match="notes sends more than is read of it"):
            _ = [message async for message in exchange]


async def test_a_server_of_another_transport_is_told_apart(sse: SseTransport, serve: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        del request
        return web.Response(status=405)

    with pytest.raises(UpstreamMisbehaved, match="notes answered HTTP 405"):
        await all_of(sse, asking(await serve(handler)))


async def test_long_answers_that_wait_to_be_read_share_the_room_of_the_edge(server: SseServer, serve: Any) -> None:
    ways = ways_within(max_answer=1_000_000)
    ways.room.most = 1_000_000
    sse = SseTransport(ways, Credentials({}))
    server.answering = False
    asked = asking(await serve(server))
    long = b'"%s"' % (b"x" * 700_000)
    async with asyncio.timeout(5), sse.open(asked) as first, sse.open(asked) as second:
        one, two = (message["id"] for message in server.heard("tools/call"))
        await server.say(result_of(one, long))
        await until(lambda: 0 < ways.room.taken == 700_000 - 256 * 1024 + len(result_of(one, b'""')))
        await server.say(result_of(two, long))
        with pytest.raises(NoRoom):
            await anext(second)
        assert long in await anext(first)
    assert ways.room.taken == 0
    await sse.stop()
    await ways.stop()
