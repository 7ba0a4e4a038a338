"""Connectors for tests: processes of their own, on a real bus, with real commands."""

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import UpstreamFailed
from interlock_common.messages import resources
from interlock_common.messages.catalog import Command, Upstream, upstream_key
from interlock_common.testing.bus import TRUST_DOMAIN, EmbeddedBus
from interlock_gateway.errors import UpstreamUnreachable
from interlock_gateway.upstreams.bus import BusTransport
from interlock_gateway.upstreams.transport import UpstreamRequest

_START_SECONDS = 20.0


@dataclass
class World:
    """The bus, an edge that asks, the catalog that publishes, and connectors as processes of their own."""

    embedded: EmbeddedBus
    edge: Bus
    catalog: Bus
    transport: BusTransport
    folder: Path
    raw: tuple[str, ...]
    sdk: tuple[str, ...]
    connectors: list[asyncio.subprocess.Process] = field(default_factory=list[asyncio.subprocess.Process])

    async def connector(self, **settings: str) -> asyncio.subprocess.Process:
        """Start a connector; it has taken its leases a moment later."""
        number = len(self.connectors)
        identity = self.embedded.identity("connector")
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(self.folder), "ENVIRONMENT": "development", "HEALTH_PORT": "0",
            "TRUST_DOMAIN": TRUST_DOMAIN, "BUS_URL": self.embedded.url, "IDENTITY_DIR": str(identity.directory),
        } | settings  # fmt: skip
        with (self.folder / f"connector-{number}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "interlock_gateway.connector", env=environment, stdout=log, stderr=log
            )
        self.connectors.append(process)
        return process

    def log(self, number: int = 0) -> str:
        return (self.folder / f"connector-{number}.log").read_text()

    async def register(self, argv: tuple[str, ...] = (), upstream_id: str = "u1", **changes: Any) -> Upstream:
        era, version = changes.pop("era", "legacy"), changes.pop("protocol_version", "2025-11-25")
        upstream = Upstream(
            id=upstream_id, name=f"notes-{upstream_id}", slug="notes", url="", era=era, protocol_version=version,
            owner="root", transport="stdio", command=Command(argv or self.raw, **changes),
        )  # fmt: skip
        await kv.put(self.catalog, resources.CATALOG, upstream_key(upstream.id), upstream)
        return upstream

    async def ask(self, upstream: Upstream, tool: str, principal: str = "ada", **arguments: Any) -> Any:
        """What a tool of raw_server.py says."""
        *_, last = await self.messages(upstream, tool, principal, **arguments)
        return msgspec.json.decode(last["result"]["content"][0]["text"])

    async def messages(self, upstream: Upstream, tool: str, principal: str = "ada", **arguments: Any) -> list[Any]:
        request = call(upstream, tool, principal, **arguments)
        async with asyncio.timeout(_START_SECONDS):
            async with self.transport.open(request) as exchange:
                return [msgspec.json.decode(message) async for message in exchange]

    async def until_refused(self, upstream: Upstream, reason: str, kind: type[UpstreamFailed]) -> None:
        """Ask until it is refused for ``reason``; raises TimeoutError where it never is."""
        async with asyncio.timeout(_START_SECONDS):
            while True:
                try:
                    await self.ask(upstream, "pid")
                except UpstreamFailed as error:
                    if isinstance(error, kind) and reason in error.detail:
                        return
                await asyncio.sleep(0.01)

    async def until_answered(self, upstream: Upstream, tool: str = "pid") -> Any:
        """Ask until somebody answers."""
        async with asyncio.timeout(_START_SECONDS):
            while True:
                with suppress(UpstreamUnreachable):
                    return await self.ask(upstream, tool)


def call(
    upstream: Upstream, tool: str, principal: str = "ada", session: str = "s1", **arguments: Any
) -> UpstreamRequest:
    meta = arguments.pop("meta", {})
    params = msgspec.json.encode({"name": tool, "arguments": arguments, "_meta": meta})
    return UpstreamRequest(upstream, "tools/call", tool, params, principal, session, b'{"sampling":{}}')
