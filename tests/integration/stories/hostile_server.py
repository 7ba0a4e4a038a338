"""An upstream that introduces itself well and then does its worst: ``/<manner>/mcp``, one path for each way to do so.

    python tests/integration/stories/hostile_server.py       says on standard output where it listens

Its tool ``do`` misbehaves when it is called. What misbehaves before is told apart: lists that are too long, too deep,
too large or endless, an introduction that never comes.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from aiohttp import web

MODERN = "2026-07-28"
_MIB = 1024 * 1024
_JSON = {"Content-Type": "application/json"}
_EVENTS = {"Content-Type": "text/event-stream"}
_TOOL = {"name": "do", "description": "Misbehaves", "inputSchema": {"type": "object"}}
_PROGRESS = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}'

type Answering = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


def _response(message: Any, result: object) -> web.Response:
    body: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"], "result": result}
    return web.json_response(body)


def _result_of(message: Any, raw: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,"result":%s}' % (json.dumps(message["id"]).encode(), raw)


async def _parts(request: web.Request, headers: dict[str, str], parts: AsyncGenerator[bytes]) -> web.StreamResponse:
    """Send ``parts``; whoever asked may leave at any time."""
    response = web.StreamResponse(headers=headers)
    try:
        await response.prepare(request)
        async for part in parts:
            await response.write(part)
    except ConnectionError:
        pass
    finally:
        await parts.aclose()
    return response


async def hangs(request: web.Request, message: Any) -> web.StreamResponse:
    del request, message
    await asyncio.Event().wait()
    raise AssertionError


async def closes_mid_answer(request: web.Request, message: Any) -> web.StreamResponse:
    del message
    response = web.StreamResponse(headers=_JSON | {"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"jsonrpc":"2.0",')
    if request.transport is not None:
        request.transport.abort()
    return response


async def sends_50_mb(request: web.Request, message: Any) -> web.StreamResponse:
    async def parts() -> AsyncGenerator[bytes]:
        yield b'{"jsonrpc":"2.0","id":%s,"result":{"x":"' % json.dumps(message["id"]).encode()
        for _ in range(50):
            yield b"x" * _MIB
        yield b'"}}'

    return await _parts(request, _JSON, parts())


async def sends_an_event_of_50_mb(request: web.Request, message: Any) -> web.StreamResponse:
    del message

    async def parts() -> AsyncGenerator[bytes]:
        yield b"data: "
        for _ in range(50):
            yield b"x" * _MIB

    return await _parts(request, _EVENTS, parts())


async def sends_invalid_json(request: web.Request, message: Any) -> web.StreamResponse:
    del request, message
    return web.Response(body=b'{"jsonrpc":"2.0","id":', headers=_JSON)


async def sends_bytes_of_no_text(request: web.Request, message: Any) -> web.StreamResponse:
    del request
    return web.Response(body=_result_of(message, b'{"content":[{"type":"text","text":"\xff\xfe"}]}'), headers=_JSON)


async def sends_events_for_ever(request: web.Request, message: Any) -> web.StreamResponse:
    del message

    async def parts() -> AsyncGenerator[bytes]:
        while True:
            yield b"data: " + _PROGRESS + b"\n\n"
            await asyncio.sleep(0.001)

    return await _parts(request, _EVENTS, parts())


async def drips(request: web.Request, message: Any) -> web.StreamResponse:
    del message

    async def parts() -> AsyncGenerator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return await _parts(request, _JSON, parts())


async def sends_huge_headers(request: web.Request, message: Any) -> web.StreamResponse:
    del message
    response = web.StreamResponse()
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")  # type: ignore[attr-defined]
        request.transport.write(b"".join(b"X-%d: %s\r\n" % (n, b"h" * 8000) for n in range(500)))  # type: ignore[attr-defined]
        request.transport.close()
    return response


async def redirects_in_a_circle(request: web.Request, message: Any) -> web.StreamResponse:
    del message
    raise web.HTTPTemporaryRedirect(str(request.url))


async def answers_too_deep(request: web.Request, message: Any) -> web.StreamResponse:
    del request
    deep = b'{"content":[],"structuredContent":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
    return web.Response(body=_result_of(message, deep), headers=_JSON)


CALLS: tuple[Answering, ...] = (
    hangs, closes_mid_answer, sends_50_mb, sends_an_event_of_50_mb, sends_invalid_json, sends_bytes_of_no_text,
    sends_events_for_ever, drips, sends_huge_headers, redirects_in_a_circle, answers_too_deep,
)  # fmt: skip


async def lists_100_000_tools(request: web.Request, message: Any) -> web.StreamResponse:
    del request
    return _response(message, {"tools": [_TOOL | {"name": f"tool-{number}"} for number in range(100_000)]})


async def lists_a_deep_definition(request: web.Request, message: Any) -> web.StreamResponse:
    del request
    schema = b'{"type":"object","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    return web.Response(body=_result_of(message, b'{"tools":[{"name":"do","inputSchema":%s}]}' % schema), headers=_JSON)


async def lists_without_end(request: web.Request, message: Any) -> web.StreamResponse:
    del request
    page = int(message["params"].get("cursor", 0))
    return _response(message, {"tools": [_TOOL | {"name": f"tool-{page}"}], "nextCursor": str(page + 1)})


LISTS: tuple[Answering, ...] = (
    hangs, sends_50_mb, drips, redirects_in_a_circle, lists_100_000_tools, lists_a_deep_definition, lists_without_end,
)  # fmt: skip


_INTRODUCTION: dict[str, object] = {
    "supportedVersions": [MODERN],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "public",
    "resultType": "complete",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "hostile", "version": "1"}},
}


def _upstream(
    lists: Answering | None, calls: Answering | None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        match message["method"]:
            case "server/discover":
                return _response(message, _INTRODUCTION)
            case "tools/list" if lists is not None:
                return await lists(request, message)
            case "tools/list":
                return _response(message, {"tools": [_TOOL], "resultType": "complete"})
            case "tools/call" if calls is not None:
                return await calls(request, message)
            case _:
                raise web.HTTPNotFound

    return answer


def application() -> web.Application:
    """One path for each manner: ``/<manner>/mcp`` when called, ``/at-once/<manner>/mcp`` when its tools are listed."""
    app = web.Application()
    for each in CALLS:
        app.router.add_post(f"/{each.__name__}/mcp", _upstream(None, each))
    for each in LISTS:
        app.router.add_post(f"/at-once/{each.__name__}/mcp", _upstream(each, None))
    return app


async def main() -> None:
    runner = web.AppRunner(application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
