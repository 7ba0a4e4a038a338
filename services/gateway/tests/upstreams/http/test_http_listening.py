import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from interlock_common.messages.catalog import Credential
from interlock_gateway.errors import UpstreamMisbehaved
from interlock_gateway.testing.servers import result_of
from interlock_gateway.testing.upstreams import (
    LEGACY,
    LegacyServer,
    begin_stream,
    event,
    http_over,
    request_to,
    ways_within,
)
from interlock_gateway.upstreams.connections import Ways
from interlock_gateway.upstreams.http.listening import ListenUnsupported
from interlock_gateway.upstreams.http.transport import HttpTransport

CHANGED = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
NO = b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32601,"message":"no"}}'


async def listened(http: HttpTransport, url: str, *uris: str, **changes: Any) -> list[bytes]:
    async with asyncio.timeout(5), http.listen(request_to(url, **changes).upstream, "ada", "ada", uris) as messages:
        return [message async for message in messages]


async def test_a_modern_upstream_is_asked_for_everything_and_for_the_resources_named(
    http: HttpTransport, serve: Any
) -> None:
    asked: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append((request.headers["Mcp-Method"], json.loads(await request.read())))
        stream = await begin_stream(request)
        await stream.write(event(CHANGED) + event(result_of(asked[-1][1]["id"])) + event(CHANGED))
        return stream

    url = await serve(handler)
    assert await listened(http, url, "n:1") == [CHANGED]
    await listened(http, url)
    (method, message), (_, without) = asked
    assert method == message["method"] == "subscriptions/listen"
    assert message["params"]["notifications"] == {
        "toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True,
        "resourceSubscriptions": ["n:1"],
    }  # fmt: skip
    assert message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert "resourceSubscriptions" not in without["params"]["notifications"]


@pytest.mark.parametrize(("status", "content_type"), [(404, "application/json"), (200, "application/json")])
async def test_a_modern_upstream_without_subscriptions_says_so(
    http: HttpTransport, serve: Any, status: int, content_type: str
) -> None:
    async def handler(request: web.Request) -> web.Response:
        message = json.loads(await request.read())
        return web.Response(body=NO % message["id"], status=status, content_type=content_type)

    with pytest.raises(ListenUnsupported, match="notes has no stream of notifications"):
        await listened(http, await serve(handler))


async def test_a_modern_upstream_that_refuses_on_its_stream_is_told_apart_from_one_that_ended(
    http: HttpTransport, serve: Any
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        message = json.loads(await request.read())
        stream = await begin_stream(request)
        await stream.write(event(NO % message["id"]))
        return stream

    with pytest.raises(ListenUnsupported, match="notes takes no subscription"):
        await listened(http, await serve(handler))


async def test_a_legacy_upstream_is_listened_to_on_its_session_and_subscribed_to(
    http: HttpTransport, serve: Any
) -> None:
    order: list[Any] = []

    async def on_call(request: web.Request, message: Any) -> web.Response:
        del request
        order.append((message["method"], message["params"]))
        return web.Response(body=result_of(message["id"], b"{}"), content_type="application/json")

    async def on_get(request: web.Request) -> web.StreamResponse:
        order.append(("GET", request.headers["Mcp-Session-Id"]))
        stream = await begin_stream(request)
        await stream.write(event(CHANGED))
        return stream

    server = LegacyServer(on_call)
    server.on_get = on_get
    assert await listened(http, await serve(server), "n:1", "n:2", **LEGACY) == [CHANGED]
    assert order == [
        ("GET", "s1"), ("resources/subscribe", {"uri": "n:1"}), ("resources/subscribe", {"uri": "n:2"}),
    ]  # fmt: skip


async def test_a_session_that_was_forgotten_is_opened_again_to_listen(http: HttpTransport, serve: Any) -> None:
    async def on_get(request: web.Request) -> web.StreamResponse:
        if request.headers["Mcp-Session-Id"] not in server.live:
            return web.Response(status=404)
        return await begin_stream(request)

    server = LegacyServer()
    server.on_get = on_get
    url = await serve(server)
    await listened(http, url, **LEGACY)
    server.live.clear()
    assert await listened(http, url, **LEGACY) == []
    assert len(server.begun) == 2


async def test_a_legacy_upstream_without_a_stream_or_without_subscriptions_says_so(
    http: HttpTransport, serve: Any
) -> None:
    async def on_call(request: web.Request, message: Any) -> web.Response:
        del request
        return web.Response(body=NO % message["id"], content_type="application/json")

    server = LegacyServer(on_call)
    url = await serve(server)
    with pytest.raises(ListenUnsupported, match="notes has no stream of notifications"):
        await listened(http, url, **LEGACY)
    server.on_get = begin_stream
    with pytest.raises(ListenUnsupported, match="notes takes no subscription to a resource"):
        await listened(http, url, "n:1", **LEGACY)


async def test_silence_on_the_stream_is_no_failure_but_an_endless_event_is(serve: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        stream = await begin_stream(request)
        await asyncio.sleep(0.3)
        await stream.write(event(CHANGED) + b"data: " + b"x" * 1_000_000)
        return stream

    ways = ways_within(idle_timeout=0.1)
    async with http_over(ways).listen(request_to(await serve(handler)).upstream, "ada", "ada", ()) as messages:
        assert await anext(messages) == CHANGED
        with pytest.raises(UpstreamMisbehaved, match="notes is over 65536 bytes"):
            await anext(messages)
    await ways.stop()


async def test_a_credential_that_was_refused_is_not_used_again(ways: Ways, serve: Any) -> None:
    class Provider:
        """Gives out numbered tokens, another after each refusal."""

        number = 1

        async def headers(self, upstream: Any, principal: str) -> dict[str, str]:
            del upstream, principal
            return {"Authorization": f"Bearer t{self.number}"}

        def invalid(self, upstream: Any, principal: str, challenge: str) -> bool:
            del upstream, principal
            assert challenge == 'Bearer error="invalid_token"'
            self.number += 1
            return True

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer t1":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return await begin_stream(request)

    http = http_over(ways, header=Provider())
    url = await serve(handler)
    with pytest.raises(UpstreamMisbehaved, match="notes answered HTTP 401"):
        await listened(http, url, credential=Credential("header"))
    assert await listened(http, url, credential=Credential("header")) == []
