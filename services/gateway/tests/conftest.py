from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from interlock_gateway.testing import EdgeWorld, Handler, serving

type Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def world() -> AsyncGenerator[EdgeWorld]:
    """An edge whose client of upstreams runs."""
    world = EdgeWorld()
    yield world
    await world.ways.stop()


@pytest.fixture
async def serve() -> AsyncGenerator[Serve]:
    """Starts upstreams that answer with the handler they are given, until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            return await stack.enter_async_context(serving(handler))

        yield start
