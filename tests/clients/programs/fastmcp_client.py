"""What the client of FastMCP sees of a server: ``fastmcp_client.py MODE URL PREFIX``, one JSON document.

FastMCP is in no environment of this repository: the harness runs this with ``uv run --with fastmcp``.
"""
# pyright: basic, reportMissingImports=false

import asyncio
import sys
from typing import Any

import mcp_types as types
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from seen import ANSWER_SECONDS, Seen, main

_MODERN = "2026-07-28"


async def elicit(message: str, response_type: Any, params: Any, context: Any) -> Any:
    """The person fills in a name."""
    del message, params, context
    return response_type(name="Ada")


async def sample(messages: Any, params: Any, context: Any) -> str:
    """The model knows one thing."""
    del messages, params, context
    return "Paris"


class Looks:
    """Each thing to look at."""

    def __init__(self, client: Any, changed: asyncio.Event, prefix: str) -> None:
        self._client, self._changed, self._prefix = client, changed, prefix

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._client.list_tools()]

    async def resources(self) -> dict[str, str]:
        return {each.name: str(each.uri) for each in await self._client.list_resources()}

    async def prompts(self) -> list[str]:
        return [each.name for each in await self._client.list_prompts()]

    async def call(self) -> str:
        return await self._text("test_simple_text")

    async def structured(self) -> Any:
        return (await self._client.call_tool(f"{self._prefix}structured_weather", {"city": "Oslo"})).structured_content

    async def read(self) -> str:
        return (await self._client.read_resource((await self.resources())["static text"]))[0].text

    async def prompt(self) -> str:
        arguments = {"arg1": "one", "arg2": "two"}
        result = await self._client.get_prompt(f"{self._prefix}test_prompt_with_arguments", arguments)
        return result.messages[0].content.text

    async def complete(self) -> list[str]:
        reference = types.PromptReference(name=f"{self._prefix}test_prompt_with_arguments")
        return (await self._client.complete(reference, {"name": "arg1", "value": "par"})).values

    async def progress(self) -> list[float]:
        seen: list[float] = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            del total, message
            seen.append(done)

        await self._client.call_tool(f"{self._prefix}test_tool_with_progress", {}, progress_handler=on_progress)
        return seen

    async def elicitation(self) -> str:
        return await self._text("test_input_required_result_elicitation")

    async def sampling(self) -> str:
        return await self._text("test_input_required_result_sampling")

    async def list_changed(self) -> bool:
        if self._client.protocol_version == _MODERN:
            raise NotImplementedError("this client opens no listen stream")
        await self._text("test_trigger_tool_change")
        await self._changed.wait()
        return True

    async def _text(self, tool: str) -> str:
        return (await self._client.call_tool(self._prefix + tool, {})).content[0].text


async def look(mode: str, url: str, prefix: str, token: str, seen: Seen) -> None:
    """Connect, and look at everything."""
    changed = asyncio.Event()

    async def on_message(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            changed.set()

    client: Any = Client(
        StreamableHttpTransport(url, auth=token),
        mode=_MODERN if mode == "modern" else mode,
        elicitation_handler=elicit,
        sampling_handler=sample,
        message_handler=on_message,
        timeout=ANSWER_SECONDS,
    )
    async with client:
        seen.facts["revision"] = client.protocol_version
        await seen.by(Looks(client, changed, prefix))


if __name__ == "__main__":
    sys.exit(main(look))
