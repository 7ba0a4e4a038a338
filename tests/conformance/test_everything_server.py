"""The everything-server offers what it says, in each era: so that a miss through the gateway is the gateway's."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
import mcp_types as types
import pytest
import uvicorn
from everything_server import application
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.server.streamable_http import EventMessage
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged

from everything.eras import Era
from everything.event_store import SESSION, KeptEvents, SessionName
from everything.live import WATCHED
from everything.paging import PAGE_SIZE
from interlock_common.testing.waiting import until

BOTH_ERAS = pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
ANSWERS: dict[str, Any] = {"name": "Alice", "color": "blue", "ok": True, "context": "a test", "answer": "on"}


@asynccontextmanager
async def listening(era: Era, pages: int = 0) -> AsyncGenerator[str]:
    config = uvicorn.Config(application(era, pages), log_level="error", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as port:
        running = asyncio.create_task(server.serve(sockets=[port]))
        try:
            await until(lambda: server.started)
            yield f"http://127.0.0.1:{port.getsockname()[1]}/mcp"
        finally:
            server.should_exit = True
            await running


async def elicited(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    del context
    if not isinstance(params, types.ElicitRequestFormParams):
        return types.ElicitResult(action="accept")
    fields: dict[str, Any] = params.requested_schema["properties"]
    content = {name: ANSWERS.get(name, field.get("default", "x")) for name, field in fields.items()}
    return types.ElicitResult(action="accept", content=content)


async def sampled(context: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    del context, params
    return types.CreateMessageResult(role="assistant", content=types.TextContent(text="Paris"), model="test")


async def rooted(context: ClientRequestContext) -> types.ListRootsResult:
    del context
    return types.ListRootsResult(roots=[types.Root(uri="file:///test/root")])  # type: ignore[arg-type]


def client(url: str, mode: Literal["auto", "legacy"] = "auto", **more: Any) -> Client:
    return Client(
        url, mode=mode, cache=None, elicitation_callback=elicited, sampling_callback=sampled,
        list_roots_callback=rooted, read_timeout_seconds=10, **more,
    )  # fmt: skip


async def post(url: str, method: str, params: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
    body: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with httpx2.AsyncClient() as http:
        return await http.post(url, json=body, headers=headers)


def text(result: types.CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))


async def test_each_era_speaks_its_own_revisions() -> None:
    for era, revision in ((Era.MODERN, "2026-07-28"), (Era.LEGACY, "2025-11-25"), (Era.BOTH, "2026-07-28")):
        async with listening(era) as url, client(url) as connected:
            assert connected.protocol_version == revision
    async with listening(Era.BOTH) as url, client(url, "legacy") as connected:
        assert connected.protocol_version == "2025-11-25"


async def test_a_modern_server_refuses_the_handshake_and_names_what_it_speaks() -> None:
    async with listening(Era.MODERN) as url:
        answer = await post(url, "initialize", {"protocolVersion": "2025-11-25"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == types.UNSUPPORTED_PROTOCOL_VERSION
    assert error["data"] == {"supported": ["2026-07-28"], "requested": "2025-11-25"}


async def test_a_legacy_server_refuses_a_modern_request_with_nothing_that_says_modern() -> None:
    async with listening(Era.LEGACY) as url:
        answer = await post(url, "server/discover", {}, {"MCP-Protocol-Version": "2026-07-28"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == types.INVALID_REQUEST


@BOTH_ERAS
async def test_content_of_every_kind_is_what_it_says(era: Era) -> None:
    async with listening(era) as url, client(url) as connected:
        assert text(await connected.call_tool("test_simple_text")) == "This is a simple text response for testing."
        (image,) = (await connected.call_tool("test_image_content")).content
        assert isinstance(image, types.ImageContent)
        assert base64.b64decode(image.data).startswith(b"\x89PNG\r\n")
        (sound,) = (await connected.call_tool("test_audio_content")).content
        assert isinstance(sound, types.AudioContent)
        assert base64.b64decode(sound.data).startswith(b"RIFF")
        failed = await connected.call_tool("test_error_handling")
        assert failed.is_error
        kinds = [block.type for block in (await connected.call_tool("test_multiple_content_types")).content]
        assert kinds == ["text", "image", "resource"]
        kinds = [block.type for block in (await connected.call_tool("link_resources")).content]
        assert kinds == ["resource_link", "resource_link", "resource"]
        weather = await connected.call_tool("structured_weather", {"city": "Oslo"})
        assert weather.structured_content == {
            "city": "Oslo", "celsius": 4.5, "wind": {"from": "north", "knots": 12},
        }  # fmt: skip
        assert (weather.meta or {})["example.com/station"] == "18700"


@BOTH_ERAS
async def test_definitions_carry_all_that_a_definition_can(era: Era) -> None:
    async with listening(era) as url, client(url) as connected:
        tools = {tool.name: tool for tool in (await connected.list_tools()).tools}
        weather = tools["structured_weather"]
        assert weather.icons
        assert weather.annotations is not None
        assert weather.annotations.read_only_hint
        assert weather.output_schema is not None
        assert (weather.meta or {})["example.com/nested"] == {"list": [1, 2.5, None, "é"]}
        assert weather.input_schema["properties"]["city"]["x-vendor"] == {"hint": "kept"}
        assert tools["json_schema_2020_12_tool"].input_schema["$defs"]["address"]["$anchor"] == "addressDef"
        assert tools["route_by_header"].input_schema["properties"]["region"]["x-mcp-header"] == "Region"
        resources = {str(each.uri): each for each in (await connected.list_resources()).resources}
        assert resources["test://static-text"].meta == {"example.com/origin": "fixture"}
        prompts = {each.name: each for each in (await connected.list_prompts()).prompts}
        assert [each.name for each in prompts["test_prompt_with_arguments"].arguments or ()] == ["arg1", "arg2"]


@BOTH_ERAS
async def test_every_resource_and_prompt_that_is_listed_can_be_had(era: Era) -> None:
    async with listening(era) as url, client(url) as connected:
        for resource in (await connected.list_resources()).resources:
            assert (await connected.read_resource(resource.uri)).contents
        (data,) = (await connected.read_resource("test://template/7/data")).contents
        assert isinstance(data, types.TextResourceContents)
        assert json.loads(data.text)["id"] == "7"
        for prompt in (await connected.list_prompts()).prompts:
            arguments = {each.name: "value" for each in prompt.arguments or ()}
            assert (await connected.get_prompt(prompt.name, arguments)).messages
        completed = await connected.complete(
            types.PromptReference(name="test_prompt_with_arguments"), {"name": "arg1", "value": "par"}
        )
        assert completed.completion.values == ["paris", "park", "party"]
        with pytest.raises(MCPError) as missing:
            await connected.read_resource("test://nowhere")
        assert missing.value.code == (types.INVALID_PARAMS if era is Era.MODERN else -32002)


@BOTH_ERAS
@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("test_sampling", {"prompt": "?"}, "LLM response: Paris"),
        ("test_elicitation", {"message": "who?"}, "User response: action=accept, content="),
        ("test_elicitation_sep1034_defaults", {}, "'age': 30"),
        ("test_elicitation_sep1330_enums", {}, "Elicitation completed: action=accept"),
        ("test_streaming_elicitation", {}, "'answer': 'on'"),
        ("test_missing_capability", {}, "Paris"),
        ("test_input_required_result_elicitation", {}, "Hello, Alice!"),
        ("test_input_required_result_list_roots", {}, "Roots: file:///test/root"),
        ("test_input_required_result_request_state", {}, "state-ok"),
        ("test_input_required_result_multiple_inputs", {}, "greeting: Paris"),
        ("test_input_required_result_multi_round", {}, "Alice likes blue"),
        ("test_input_required_result_capabilities", {}, "greeting: Paris"),
        ("test_elicitation_url", {}, "action=accept"),
    ],
)
async def test_what_the_client_answers_reaches_the_tool(era: Era, tool: str, arguments: Any, said: str) -> None:
    async with listening(era) as url, client(url) as connected:
        assert said in text(await connected.call_tool(tool, arguments))


async def test_a_state_that_was_changed_is_refused() -> None:
    async with listening(Era.MODERN) as url, client(url) as connected:
        name = "test_input_required_result_tampered_state"
        asked = await connected.session.call_tool(name, {}, allow_input_required=True)
        assert isinstance(asked, types.InputRequiredResult)
        answers: types.InputResponses = {"confirm": types.ElicitResult(action="accept", content={"ok": True})}
        with pytest.raises(MCPError) as refused:
            await connected.session.call_tool(
                name, {}, input_responses=answers, request_state=f"{asked.request_state}x", allow_input_required=True
            )
        assert refused.value.code == types.INVALID_PARAMS


@BOTH_ERAS
async def test_a_client_that_cannot_answer_is_not_asked(era: Era) -> None:
    async with listening(era) as url, Client(url, cache=None) as connected:
        with pytest.raises(MCPError) as refused:
            await connected.call_tool("test_input_required_result_elicitation")
        assert refused.value.data == {"requiredCapabilities": {"elicitation": {}}}


@BOTH_ERAS
async def test_progress_comes_while_a_tool_runs(era: Era) -> None:
    seen: list[float] = []

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        del total, message
        seen.append(progress)

    async with listening(era) as url, client(url) as connected:
        await connected.call_tool("test_tool_with_progress", progress_callback=progressed)
    assert seen == [0, 50, 100]


@pytest.mark.parametrize("level", [None, "info", "error"])
@BOTH_ERAS
async def test_logs_come_only_at_the_level_that_was_asked_for(era: Era, level: types.LoggingLevel | None) -> None:
    seen: list[Any] = []

    async def logged(params: types.LoggingMessageNotificationParams) -> None:
        seen.append(params.data)

    more: dict[str, Any] = {"log_level": level} if era is Era.MODERN else {}
    async with listening(era) as url, client(url, logging_callback=logged, **more) as connected:
        if era is Era.LEGACY and level is not None:
            params = types.SetLevelRequestParams(level=level)
            await connected.session.send_request(types.SetLevelRequest(params=params), types.EmptyResult)
        await connected.call_tool("test_tool_with_logging")
    unasked = era is Era.LEGACY and level is None  # a legacy server may choose what it sends then
    assert len(seen) == (3 if level == "info" or unasked else 0)


@BOTH_ERAS
async def test_lists_come_in_as_many_pages_as_they_should(era: Era) -> None:
    async with listening(era, pages=3) as url, client(url) as connected:
        names: list[str] = []
        cursor: str | None = None
        for _ in range(3):
            listed = await connected.list_tools(cursor=cursor)
            assert len(listed.tools) == PAGE_SIZE
            names += [tool.name for tool in listed.tools]
            cursor = listed.next_cursor
        assert cursor is None
        assert len(set(names)) == 3 * PAGE_SIZE
        with pytest.raises(MCPError) as refused:
            await connected.list_prompts(cursor="from elsewhere")
        assert refused.value.code == types.INVALID_PARAMS


async def test_a_modern_client_that_listens_hears_of_changes() -> None:
    async with listening(Era.MODERN) as url, client(url) as connected:
        before = len((await connected.list_tools()).tools)
        async with connected.listen(tools_list_changed=True, resource_subscriptions=[WATCHED]) as heard:
            await connected.call_tool("test_trigger_tool_change")
            assert await anext(heard) == ToolsListChanged()
            await connected.call_tool("update_watched_resource", {"text": "new"})
            assert await anext(heard) == ResourceUpdated(uri=WATCHED)
        assert len((await connected.list_tools()).tools) == before + 1
        (content,) = (await connected.read_resource(WATCHED)).contents
        assert isinstance(content, types.TextResourceContents)
        assert content.text == "new"


async def test_a_legacy_session_hears_of_changes() -> None:
    heard: list[str] = []

    async def handled(message: Any) -> None:
        heard.append(str(getattr(message, "method", "")))

    async with listening(Era.LEGACY) as url, client(url, message_handler=handled) as connected:
        subscribing = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=WATCHED))
        await connected.session.send_request(subscribing, types.EmptyResult)
        await connected.call_tool("test_trigger_tool_change")
        await until(lambda: "notifications/tools/list_changed" in heard)
        await connected.call_tool("update_watched_resource", {"text": "new"})
        await until(lambda: "notifications/resources/updated" in heard)


@BOTH_ERAS
async def test_a_call_that_is_cancelled_is_remembered(era: Era) -> None:
    async with listening(era) as url, client(url) as held, client(url) as looking:
        begun = asyncio.Event()

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            del progress, total, message
            begun.set()

        call = asyncio.create_task(held.call_tool("hold", {"label": "mine"}, progress_callback=progressed))
        async with asyncio.timeout(10):
            await begun.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        async with asyncio.timeout(10):
            while "mine" not in text(await looking.call_tool("cancelled_holds")):
                pass


@BOTH_ERAS
async def test_calls_are_counted_by_key(era: Era) -> None:
    async with listening(era) as url, client(url) as connected:
        for expected in (1, 2):
            counted = await connected.call_tool("count_calls", {"key": "mine"})
            assert counted.structured_content == {"calls": expected}
        other = await connected.call_tool("count_calls", {"key": "other"})
        assert other.structured_content == {"calls": 1}


async def test_arguments_with_a_header_travel_in_it_too() -> None:
    async with listening(Era.MODERN) as url, client(url) as connected:
        await connected.list_tools()
        routed = await connected.call_tool("route_by_header", {"region": "Åland", "priority": 3})
        content: Any = routed.structured_content
        assert content["headers"] == {"mcp-param-region": "=?base64?w4VsYW5k?=", "mcp-param-priority": "3"}


async def test_an_answer_comes_after_the_server_closed_its_stream() -> None:
    async with listening(Era.LEGACY) as url, client(url) as connected:
        assert text(await connected.call_tool("test_reconnection")) == "Answered after the stream was closed"


async def test_a_session_replays_only_its_own_events() -> None:
    events = KeptEvents()
    first: dict[str, str] = {}
    for session in ("one", "two"):
        SESSION.set(SessionName(session))
        first[session] = await events.store_event("1", None)
    for session in ("one", "two"):
        SESSION.set(SessionName(session))
        await events.store_event("1", types.JSONRPCResponse(jsonrpc="2.0", id=1, result={"of": session}))
    replayed: list[Any] = []

    async def keep(event: EventMessage) -> None:
        replayed.append(event.message)

    SESSION.set(SessionName("one"))
    assert await events.replay_events_after(first["two"], keep) is None
    assert await events.replay_events_after(first["one"], keep) == "1"
    assert [message.result for message in replayed] == [{"of": "one"}]
