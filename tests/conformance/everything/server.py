"""The everything-server: handlers of the SDK's low-level server, which leaves definitions as they are written."""

from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import ListenHandler
from pydantic import BaseModel

from everything import prompts, resources
from everything.content import CONTENT
from everything.exchange import Exchange, InputNeeded
from everything.interactive import INTERACTIVE
from everything.live import LIVE
from everything.paging import filled, page
from everything.registry import Entry, Registry, text
from everything.samples import ICON
from everything.world import Context, World, session_id

NAME = "everything"
VERSION = "1.0.0"
_FILLERS = Registry()
_ENTRIES = {**CONTENT.entries, **INTERACTIVE.entries, **LIVE.entries}


@_FILLERS.tool("A tool that comes and goes")
async def extra_tool(exchange: Exchange) -> types.CallToolResult:
    del exchange
    return text("I am here now.")


class _Server(Server[dict[str, Any]]):
    """Says in the handshake that its lists change; the SDK takes that from whoever runs the loop."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        changing = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(
            notification_options or changing, experimental_capabilities, extensions
        )


def everything(world: World) -> Server[dict[str, Any]]:
    """A server over ``world``."""
    handlers = _Handlers(world)
    server = _Server(
        NAME,
        version=VERSION,
        title="Everything",
        description="Offers everything that a server of the protocol can offer",
        instructions="Call anything: nothing here has an effect outside this process.",
        website_url="https://example.com/everything",
        icons=[ICON],
        cache_hints={
            "tools/list": CacheHint(ttl_ms=60_000, scope="public"),
            "prompts/list": CacheHint(ttl_ms=30_000, scope="public"),
            "resources/list": CacheHint(ttl_ms=15_000, scope="private"),
            "resources/templates/list": CacheHint(ttl_ms=60_000, scope="public"),
        },
        get_tool_input_schema=handlers.input_schema,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_list_resource_templates=handlers.list_templates,
        on_read_resource=handlers.read_resource,
        on_subscribe_resource=handlers.subscribe,
        on_unsubscribe_resource=handlers.unsubscribe,
        on_subscriptions_listen=ListenHandler(world.bus),
        on_list_prompts=handlers.list_prompts,
        on_get_prompt=handlers.get_prompt,
        on_completion=handlers.complete,
    )
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, handlers.set_level)
    server.add_notification_handler("notifications/initialized", types.NotificationParams, handlers.initialized)
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server


class _Handlers:
    def __init__(self, world: World) -> None:
        self._world = world

    def _tools(self) -> dict[str, Entry]:
        extra = _FILLERS.entries.items() if self._world.extra_tool else ()
        return dict(filled([*_ENTRIES.items(), *extra], self._world.pages, _filler))

    def input_schema(self, name: str) -> dict[str, Any] | None:
        entry = self._tools().get(name)
        return None if entry is None else entry.tool.input_schema

    async def list_tools(self, context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        del context
        tools, cursor = self._page([entry.tool for entry in self._tools().values()], params)
        return types.ListToolsResult(tools=tools, next_cursor=cursor)

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        entry = self._tools().get(params.name)
        if entry is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        missing = set(entry.tool.input_schema.get("required", ())) - set(params.arguments or {})
        if missing:
            return text(f"missing: {', '.join(sorted(missing))}", is_error=True)
        exchange = self._begin(context, params, params.arguments)
        return await _or_input(lambda: entry.run(exchange))

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        del context
        items, cursor = self._page(resources.resources(self._world), params)
        return types.ListResourcesResult(resources=items, next_cursor=cursor)

    async def list_templates(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        del context
        items, cursor = self._page(resources.templates(self._world), params)
        return types.ListResourceTemplatesResult(resource_templates=items, next_cursor=cursor)

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult | types.InputRequiredResult:
        exchange = self._begin(context, params, None)
        return await _or_input(lambda: resources.read(exchange, params.uri))

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        self._world.watch(context, params.uri)
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        self._world.unwatch(context, params.uri)
        return types.EmptyResult()

    async def list_prompts(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        del context
        items, cursor = self._page(prompts.prompts(self._world), params)
        return types.ListPromptsResult(prompts=items, next_cursor=cursor)

    async def get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        exchange = self._begin(context, params, params.arguments)
        result = await _or_input(lambda: prompts.get(exchange, params.name))
        if result is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
        return result

    async def complete(self, context: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        del context
        return types.CompleteResult(completion=prompts.complete(params))

    async def set_level(self, context: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        self._world.levels[session_id(context)] = params.level
        return types.EmptyResult()

    async def initialized(self, context: Context, params: types.NotificationParams) -> None:
        del params
        self._world.opened(context)

    def _page[Item](
        self, items: list[Item], params: types.PaginatedRequestParams | None
    ) -> tuple[list[Item], str | None]:
        return page(items, self._world.pages, None if params is None else params.cursor)

    def _begin(
        self, context: Context, params: types.InputResponseRequestParams, arguments: dict[str, Any] | None
    ) -> Exchange:
        return Exchange.begin(context, self._world, arguments, params.input_responses, params.request_state)


async def _or_input[Result: BaseModel | None](
    run: Callable[[], Awaitable[Result]],
) -> Result | types.InputRequiredResult:
    """What ``run`` answers, or what the client has to answer first."""
    try:
        return await run()
    except InputNeeded as needed:
        return types.InputRequiredResult(input_requests=needed.requests, request_state=needed.state)


def _filler(number: int) -> tuple[str, Entry]:
    name = f"filler_{number:03}"
    run = _FILLERS.entries[extra_tool.__name__].run
    tool = types.Tool(name=name, description="A tool to fill pages", input_schema={"type": "object"})
    return name, Entry(tool, run)
