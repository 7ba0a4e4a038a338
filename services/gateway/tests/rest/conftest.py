from collections.abc import AsyncGenerator

import httpx2
import pytest

from interlock_gateway.rest.app import create_rest_app
from interlock_gateway.rest.testing import TOKEN, FakeWorld


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
async def client(world: FakeWorld) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client with a good token, before an application on the fake world."""
    transport = httpx2.ASGITransport(create_rest_app(world.dependencies()), raise_app_exceptions=False)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://gateway.test", headers={"Authorization": TOKEN}
    ) as client:
        yield client
