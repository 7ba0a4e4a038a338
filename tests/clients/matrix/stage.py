"""A gateway with an everything-server of each era behind it, and the places at which clients find them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.gateway import Gateway, gateway
from harness.upstreams import everything_server

from everything.eras import Era
from interlock_cli.state import State

MODERN, LEGACY, ALL = "modern", "legacy", "/mcp"
"""A virtual server over one upstream of that era, or the endpoint of all there is."""


@dataclass(frozen=True)
class Stage:
    """A gateway that runs; by place the path of an endpoint, and how names begin there."""

    gateway: Gateway
    paths: dict[str, tuple[str, str]]

    def at(self, place: str) -> tuple[str, str]:
        """URL and prefix."""
        path, prefix = self.paths[place]
        return self.gateway.edges[0] + path, prefix


@asynccontextmanager
async def stage(folder: Path) -> AsyncGenerator[Stage]:
    """Start it all; an unprefixed virtual server for each upstream, and both at ``/mcp``, prefixed."""
    async with (
        everything_server(Era.MODERN, folder / "modern.log") as modern,
        everything_server(Era.LEGACY, folder / "legacy.log") as legacy,
        gateway(State(folder / "state"), 1, {}) as ready,
    ):
        paths = {
            MODERN: (await ready.serve("everything-modern", modern), ""),
            LEGACY: (await ready.serve("everything-legacy", legacy), ""),
            ALL: ("/mcp", "everything-modern-"),
        }
        yield Stage(ready, paths)
