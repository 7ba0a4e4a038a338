from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from interlock_common.testing.bus import EmbeddedBus
from interlock_gateway.testing.edge import EdgeWorld
from interlock_gateway.testing.edges import Conversing, Edge, conversing_at, edge_at
from interlock_gateway.testing.servers import Handler, serving

type Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def world() -> AsyncGenerator[EdgeWorld]:
    """An edge whose client of upstreams runs."""
    world = EdgeWorld()
    yield world
    await world.ways.stop()


@pytest.fixture
async def edges(embedded_bus: EmbeddedBus) -> AsyncGenerator[tuple[Edge, Edge]]:
    """Two edges of one deployment, on a real bus."""
    async with edge_at(embedded_bus) as first, edge_at(embedded_bus) as second:
        yield first, second


@pytest.fixture
async def upstream(edges: tuple[Edge, Edge], serve: Serve) -> Conversing:
    """An upstream of the handshake era that both edges know."""
    conversing = Conversing()
    url = await serve(conversing.handle)
    for edge in edges:
        edge.world.register(conversing_at(url))
    return conversing


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    """Starts upstreams that answer with the handler they are given, until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            return await stack.enter_async_context(serving(handler))

        yield start
