"""What the demonstration relies on in its example servers."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from interlock_gateway.revisions import META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN

META = {META_VERSION: MODERN, META_CLIENT: {"name": "t", "version": "0"}, META_CAPABILITIES: {}}


def call(tool: str, arguments: Mapping[str, Any], **meta: Any) -> bytes:
    params = {"name": tool, "arguments": arguments, "_meta": META | meta}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def headers(tool: str, **more: str) -> dict[str, str]:
    return {
        "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": tool, **more,
    }  # fmt: skip


async def test_read_credentials_answers_what_redaction_hides(http: aiohttp.ClientSession, notes: str) -> None:
    async with http.post(notes, data=call("read_credentials", {}), headers=headers("read_credentials")) as answer:
        text = cast("dict[str, Any]", await answer.json())["result"]["content"][0]["text"]
    assert "AKIAIOSFODNN7EXAMPLE" in text
    assert "password=" in text


async def test_count_slowly_reports_its_progress_as_it_goes(http: aiohttp.ClientSession, notes: str) -> None:
    body = call("count_slowly", {"n": 3, "seconds": 0.1}, progressToken="p")
    async with http.post(notes, data=body, headers=headers("count_slowly")) as answer:
        assert answer.content_type == "text/event-stream"
        events = (await answer.text()).count("notifications/progress")
    assert events == 3


@pytest.fixture
async def collector() -> AsyncGenerator[tuple[str, asyncio.Queue[Span]]]:
    """An OTLP receiver: its address, and the spans that arrive."""
    spans: asyncio.Queue[Span] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await request.read())
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    spans.put_nowait(span)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("/")), spans
    await server.close()


@pytest.mark.parametrize("way", ["header", "meta"])
async def test_an_example_continues_its_callers_trace(
    http: aiohttp.ClientSession, collector: tuple[str, asyncio.Queue[Span]], way: str,
    monkeypatch: pytest.MonkeyPatch, serve_example: Any,
) -> None:  # fmt: skip
    address, spans = collector
    monkeypatch.setitem(os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT", address)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    context = {"traceparent": f"00-{trace}-{parent}-01"}
    tool = "to_fahrenheit"
    more, meta = (context, {}) if way == "header" else ({}, context)
    async with serve_example("weather_server.py") as url:
        async with http.post(url, data=call(tool, {"celsius": 1}, **meta), headers=headers(tool, **more)) as answer:
            assert answer.status == 200
        async with asyncio.timeout(20):
            while (span := await spans.get()).name != "tools/call to_fahrenheit":
                pass
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)
