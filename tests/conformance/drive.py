"""The client of the suite's client scenarios: it registers the suite's server as an upstream and uses it as a whole.

Started by the suite with the URL of its server as the last argument. What is judged is what arrives there, so it
is the gateway that is judged; the client that drives it is the Python SDK's. Knows the gateway from the environment
(CONFORMANCE_GATEWAY, CONFORMANCE_TOKEN) and the scenario from the suite's own variables.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx2
from harness.gateway import Gateway
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult

from interlock_cli.demo.clients import until
from interlock_cli.state import State

type Listed = Callable[[], Awaitable[list[dict[str, Any]]]]

_TIMEOUT = 15.0
_LISTED_SECONDS = 4.0
_WITHOUT_TOOLS = frozenset({"initialize"})
_SAMPLES: Mapping[str, Any] = {
    "string": "sample", "integer": 1, "number": 2.5, "boolean": True, "object": {}, "array": [], "null": None,
}  # fmt: skip


async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """Accept, with the defaults of the form where it has some and a sample of the type where it has none."""
    del context
    form = isinstance(params, ElicitRequestFormParams)
    fields: dict[str, dict[str, Any]] = params.requested_schema.get("properties", {}) if form else {}
    content = {name: field.get("default", _SAMPLES.get(str(field.get("type")))) for name, field in fields.items()}
    return ElicitResult(action="accept", content=content)


async def use(client: Client, listed: Listed, scenario: str, calls: Mapping[str, Any]) -> None:
    """List and call, read and get everything there is; ``calls`` are the arguments the suite wants.

    What is called is what the gateway lists, not what the SDK leaves of it: hiding invalid tools is the gateway's
    task here. The SDK lists too, since it learns from that which arguments travel in headers.
    """
    tools = await listed() if scenario in _WITHOUT_TOOLS else await until(listed, _LISTED_SECONDS)
    await client.list_tools()
    for tool in tools:
        await _tolerant(client.call_tool(tool["name"], calls.get(tool["name"]) or _arguments(tool["inputSchema"])))
    resources = await _tolerant(client.list_resources())
    for resource in resources.resources if resources else ():
        await _tolerant(client.read_resource(resource.uri))
    prompts = await _tolerant(client.list_prompts())
    for prompt in prompts.prompts if prompts else ():
        await _tolerant(client.get_prompt(prompt.name, {each.name: "sample" for each in prompt.arguments or ()}))


async def drive(url: str) -> None:
    """Register ``url`` and use it through the gateway, in the era of the scenario."""
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    mode: Literal["auto", "legacy"] = (
        "auto" if os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"] >= "2026-07-28" else "legacy"
    )
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    calls = {call["name"]: call["arguments"] for call in context.get("toolCalls", ())}
    base, token = os.environ["CONFORMANCE_GATEWAY"], os.environ["CONFORMANCE_TOKEN"]
    gateway = Gateway([base], token, State(Path(os.devnull)))
    name = f"{scenario}-{url.rsplit(':', 1)[1].partition('/')[0]}"
    path = await gateway.compose(name, url)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=_TIMEOUT, trust_env=False) as http:
        transport = streamable_http_client(base + path, http_client=http)
        async with Client(transport, mode=mode, cache=None, elicitation_callback=answer) as client:
            await use(client, partial(gateway.tools, path), scenario, calls)


async def _tolerant(answered: Any) -> Any:
    """What it answers, or None where the server refuses: the suite judges what arrived, not what came back."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await answered
    except (MCPError, TimeoutError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return None


def _arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, dict[str, Any]] = schema.get("properties", {})
    return {name: _SAMPLES.get(str(field.get("type")), "sample") for name, field in fields.items()}


if __name__ == "__main__":
    asyncio.run(drive(sys.argv[-1]))
