"""What the client of the MCP Python SDK sees of a server: ``python_sdk.py MODE URL PREFIX``, one JSON document."""

import sys
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from seen import ANSWER_SECONDS, Seen, main

_MODERN = "2026-07-28"


async def elicit(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    """The person fills in a name."""
    del context, params
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def sample(context: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """The model knows one thing."""
    del context, params
    return types.CreateMessageResult(role="assistant", content=types.TextContent(text="Paris"), model="none")


class Watch:
    """Hears whether the list of tools changed."""

    def __init__(self) -> None:
        self.changed = anyio.Event()

    async def __call__(self, message: types.ServerNotification | Exception) -> None:
        """Called with each notification of a session."""
        if isinstance(message, types.ToolListChangedNotification):
            self.changed.set()


class Looks:
    """Each thing to look at."""

    def __init__(self, client: Client, watch: Watch, prefix: str) -> None:
        self._client, self._watch, self._prefix = client, watch, prefix

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def resources(self) -> dict[str, str]:
        return {each.name: str(each.uri) for each in (await self._client.list_resources()).resources}

    async def prompts(self) -> list[str]:
        return [each.name for each in (await self._client.list_prompts()).prompts]

    async def call(self) -> str:
        return await self._text("test_simple_text")

    async def structured(self) -> Any:
        return (await self._client.call_tool(f"{self._prefix}structured_weather", {"city": "Oslo"})).structured_content

    async def read(self) -> str:
        contents = (await self._client.read_resource((await self.resources())["static text"])).contents[0]
        return contents.text if isinstance(contents, types.TextResourceContents) else "no text"

    async def prompt(self) -> str:
        arguments = {"arg1": "one", "arg2": "two"}
        result = await self._client.get_prompt(f"{self._prefix}test_prompt_with_arguments", arguments)
        block = result.messages[0].content
        return block.text if isinstance(block, types.TextContent) else block.type

    async def complete(self) -> list[str]:
        reference = types.PromptReference(name=f"{self._prefix}test_prompt_with_arguments")
        return (await self._client.complete(reference, {"name": "arg1", "value": "par"})).completion.values

    async def progress(self) -> list[float]:
        seen: list[float] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            del total, message
            seen.append(progress)

        await self._client.call_tool(f"{self._prefix}test_tool_with_progress", {}, progress_callback=on_progress)
        return seen

    async def elicitation(self) -> str:
        return await self._text("test_input_required_result_elicitation")

    async def sampling(self) -> str:
        return await self._text("test_input_required_result_sampling")

    async def list_changed(self) -> bool:
        if self._client.protocol_version != _MODERN:
            await self._text("test_trigger_tool_change")
            await self._watch.changed.wait()
            return True
        async with self._client.listen(tools_list_changed=True) as subscription:
            await self._text("test_trigger_tool_change")
            await anext(aiter(subscription))
        return True

    async def _text(self, tool: str) -> str:
        block = (await self._client.call_tool(self._prefix + tool, {})).content[0]
        return block.text if isinstance(block, types.TextContent) else block.type


async def look(mode: str, url: str, prefix: str, token: str, seen: Seen) -> None:
    """Connect, and look at everything."""
    watch = Watch()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=ANSWER_SECONDS) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode=_MODERN if mode == "modern" else mode,
            elicitation_callback=elicit,
            sampling_callback=sample,
            message_handler=watch,
        ) as client,
    ):
        seen.facts["revision"] = client.protocol_version
        await seen.by(Looks(client, watch, prefix))


if __name__ == "__main__":
    sys.exit(main(look))
