"""A whole gateway in a scratch folder, with what the suite needs: upstreams, unprefixed servers, a token."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from harness.errors import Unusable
from interlock_cli.administration import Administration
from interlock_cli.errors import CommandError
from interlock_cli.ports import HOST
from interlock_cli.processes import Launch
from interlock_cli.stack import Options, Stack
from interlock_cli.state import State
from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.ports import choose_free

_TIMEOUT = 30.0
_SERVED_SECONDS = 20.0
_INTERVAL = 0.1
_LIST = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/list",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "interlock-conformance", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
}
_LIST_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/list",
}


class SpreadStack(Stack):
    """The embedded stack, with each edge at a port of its own, so that a balancer can tell them apart."""

    def __init__(self, state: State, options: Options) -> None:
        self.edge_ports = [options.port, *choose_free(options.gateways - 1)]
        super().__init__(state, options, lambda: None)

    def _edge_launch(self, instance: str) -> Launch:
        launch = super()._edge_launch(instance)
        number = int(instance.partition("-")[2] or 1)
        return replace(launch, environment={**launch.environment, "PORT": str(self.edge_ports[number - 1])})


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs: its edges' URLs, and the administrator's token."""

    edges: list[str]
    token: str
    state: State

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """The REST API; raises Unusable with what it said when it refuses."""
        async with self._http() as http:
            answer = await http.request(method, self.edges[0] + path, json=body)
        if answer.is_error:
            raise Unusable(f"{method} {path} was refused with {answer.status_code}: {answer.text[:400]}")
        return answer.json()

    async def compose(self, name: str, url: str) -> str:
        """Register an upstream, with an unprefixed virtual server of all it has; the server's path."""
        upstream = await self.ask("POST", "/gateways", {"name": name, "url": url})
        body = {"name": name, "associated_upstreams": [upstream["id"]], "prefix": "none"}
        server = await self.ask("POST", "/servers", body)
        return f"/servers/{server['id']}/mcp"

    async def serve(self, name: str, url: str) -> str:
        """Compose, and return once every edge lists the tools of the everything-server at ``url``."""
        path = await self.compose(name, url)
        await asyncio.gather(*(self._served(edge, path) for edge in self.edges))
        return path

    async def tools(self, path: str, edge: str = "") -> list[dict[str, Any]]:
        """The tools that a server lists, exactly as they come; none when it answers an error."""
        async with self._http() as http:
            answer = await http.post((edge or self.edges[0]) + path, json=_LIST, headers=_LIST_HEADERS)
        if not answer.is_success or not answer.headers.get("content-type", "").startswith("application/json"):
            return []
        return answer.json().get("result", {}).get("tools", [])

    async def _served(self, edge: str, path: str) -> None:
        end = SYSTEM_CLOCK.monotonic() + _SERVED_SECONDS
        while all(tool["name"] != "test_simple_text" for tool in await self.tools(path, edge)):
            if SYSTEM_CLOCK.monotonic() > end:
                raise Unusable(f"{edge}{path} does not list the upstream's tools after {_SERVED_SECONDS:g} s")
            await asyncio.sleep(_INTERVAL)

    def _http(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(headers=headers, timeout=_TIMEOUT, trust_env=False)


@asynccontextmanager
async def gateway(state: State, edges: int, extra: dict[str, str]) -> AsyncGenerator[Gateway]:
    """A gateway of ``edges`` edges; all of it is stopped when the block ends. Raises Unusable."""
    (port,) = choose_free(1)
    options = Options(port=port, gateways=edges, extra={"NO_PROXY": HOST, "no_proxy": HOST, **extra})
    state.prepare()
    with state.locked():
        stack = SpreadStack(state, options)
        try:
            await stack.start()
            token = await asyncio.to_thread(Administration(stack.placement).token)
            yield Gateway([f"http://{HOST}:{each}" for each in stack.edge_ports], token, state)
        except CommandError as error:
            raise Unusable(f"{error}\nits logs are in {state.root / 'logs'}") from None
        finally:
            await stack.stop()
            stack.failure.cancel()
