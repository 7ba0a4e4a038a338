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

    async def serve(self, name: str, url: str) -> str:
        """Register an upstream with an unprefixed virtual server for it; the server's path, once edges serve it."""
        upstream = await self.ask("POST", "/gateways", {"name": name, "url": url})
        body = {"name": name, "associated_upstreams": [upstream["id"]], "prefix": "none"}
        server = await self.ask("POST", "/servers", body)
        path = f"/servers/{server['id']}/mcp"
        await asyncio.gather(*(self._served(edge + path) for edge in self.edges))
        return path

    async def _served(self, url: str) -> None:
        end = SYSTEM_CLOCK.monotonic() + _SERVED_SECONDS
        async with self._http() as http:
            while True:
                answer = await http.post(url, json=_LIST, headers=_LIST_HEADERS)
                if answer.is_success and '"test_simple_text"' in answer.text:
                    return
                if SYSTEM_CLOCK.monotonic() > end:
                    raise Unusable(f"{url} does not list the upstream's tools: {answer.text[:400]}")
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
