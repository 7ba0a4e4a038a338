"""Tools that take their time or change something: logs, progress, cancellation, lists and resources that change."""

import anyio
from mcp.server.subscriptions import PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp_types import CallToolResult

from everything.exchange import Exchange
from everything.registry import Registry, text
from everything.world import session_id

LIVE = Registry()

WATCHED = "test://watched-resource"
_STEP_SECONDS = 0.05
_MOST_SECONDS = 120.0
_COUNTED = {"type": "object", "properties": {"calls": {"type": "integer"}}, "required": ["calls"]}


async def _log_thrice(exchange: Exchange) -> CallToolResult:
    for number, line in enumerate(("Tool execution started", "Tool processing data", "Tool execution completed")):
        if number:
            await anyio.sleep(_STEP_SECONDS)
        await exchange.log("info", line)
    return text("Tool with logging executed successfully")


@LIVE.tool("Logs three messages while it runs")
async def test_tool_with_logging(exchange: Exchange) -> CallToolResult:
    return await _log_thrice(exchange)


@LIVE.tool("Logs three messages, for clients that asked for none")
async def test_logging_tool(exchange: Exchange) -> CallToolResult:
    return await _log_thrice(exchange)


@LIVE.tool("Reports progress of 0, 50 and 100 of 100")
async def test_tool_with_progress(exchange: Exchange) -> CallToolResult:
    for done in (0, 50, 100):
        if done:
            await anyio.sleep(_STEP_SECONDS)
        await exchange.progress(done, 100, f"{done} of 100")
    return text("Tool with progress executed successfully")


@LIVE.tool("Closes its stream before it answers; the answer comes after the client reconnects (SEP-1699)")
async def test_reconnection(exchange: Exchange) -> CallToolResult:
    if exchange.context.close_sse_stream is not None:
        await exchange.context.close_sse_stream()
        await anyio.sleep(2 * _STEP_SECONDS)
    return text("Answered after the stream was closed")


@LIVE.tool(
    "Answers how often it was called with this key",
    {"key": {"type": "string", "description": "What to count"}},
    output_schema=_COUNTED,
)
async def count_calls(exchange: Exchange) -> CallToolResult:
    calls = exchange.world.count(str(exchange.arguments.get("key", "")))
    return text(f"{calls}", structured_content={"calls": calls})


@LIVE.tool(
    "Waits, reporting progress, and remembers its label when it is cancelled",
    {"label": {"type": "string"}, "seconds": {"type": "number", "minimum": 0, "maximum": _MOST_SECONDS}},
    ["label"],
)
async def hold(exchange: Exchange) -> CallToolResult:
    label = str(exchange.arguments["label"])
    seconds = min(float(exchange.arguments.get("seconds", _MOST_SECONDS)), _MOST_SECONDS)
    exchange.world.count(f"hold {label}")
    try:
        with anyio.move_on_after(seconds):
            for tick in range(int(_MOST_SECONDS / _STEP_SECONDS)):
                await exchange.progress(tick, _MOST_SECONDS / _STEP_SECONDS, label)
                await anyio.sleep(_STEP_SECONDS)
    except anyio.get_cancelled_exc_class():
        exchange.world.was_cancelled(label)
        raise
    return text(f"held {label}")


@LIVE.tool("Answers the labels of the holds that were cancelled, oldest first")
async def cancelled_holds(exchange: Exchange) -> CallToolResult:
    return text(*exchange.world.cancelled, structured_content={"labels": exchange.world.cancelled})


@LIVE.tool(
    "Has parameters that travel in headers too (SEP-2243)",
    {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "priority": {"type": "integer", "x-mcp-header": "Priority"},
        "dry_run": {"type": "boolean", "x-mcp-header": "Dry-Run"},
        "query": {"type": "string"},
    },
    ["region"],
)
async def route_by_header(exchange: Exchange) -> CallToolResult:
    headers = {} if exchange.context.request is None else dict(exchange.context.request.headers)
    seen = {name: value for name, value in headers.items() if name.startswith("mcp-param-")}
    return text(f"{seen}", structured_content={"headers": seen, "arguments": dict(exchange.arguments)})


@LIVE.tool("Answers what reached this server of the request that called it: headers, _meta, the client's capabilities")
async def show_request(exchange: Exchange) -> CallToolResult:
    context = exchange.context
    capabilities = exchange.capabilities.model_dump(mode="json", by_alias=True, exclude_none=True)
    seen = {
        "protocolVersion": context.protocol_version,
        "session": session_id(context),
        "headers": {} if context.request is None else dict(context.request.headers),
        "meta": (context.params or {}).get("_meta", {}),
        "capabilities": capabilities,
    }
    return text(f"{seen}", structured_content=seen)


@LIVE.tool("Adds a tool to the list, or takes it out again")
async def test_trigger_tool_change(exchange: Exchange) -> CallToolResult:
    exchange.world.extra_tool = not exchange.world.extra_tool
    await exchange.world.announce(ToolsListChanged())
    return text("The list of tools changed")


@LIVE.tool("Adds a prompt to the list, or takes it out again")
async def test_trigger_prompt_change(exchange: Exchange) -> CallToolResult:
    exchange.world.extra_prompt = not exchange.world.extra_prompt
    await exchange.world.announce(PromptsListChanged())
    return text("The list of prompts changed")


@LIVE.tool("Adds a resource to the list, or takes it out again")
async def trigger_resource_change(exchange: Exchange) -> CallToolResult:
    exchange.world.extra_resource = not exchange.world.extra_resource
    await exchange.world.announce(ResourcesListChanged())
    return text("The list of resources changed")


@LIVE.tool("Changes the watched resource", {"text": {"type": "string"}}, ["text"])
async def update_watched_resource(exchange: Exchange) -> CallToolResult:
    exchange.world.watched_text = str(exchange.arguments["text"])
    await exchange.world.announce(ResourceUpdated(uri=WATCHED))
    return text(f"{WATCHED} changed")
