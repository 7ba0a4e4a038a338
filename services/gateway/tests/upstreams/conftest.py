from collections.abc import AsyncGenerator

import pytest

from interlock_gateway.testing.upstreams import http_over, ways_within
from interlock_gateway.upstreams.connections import Ways
from interlock_gateway.upstreams.http.transport import HttpTransport


@pytest.fixture
async def ways() -> AsyncGenerator[Ways]:
    ways = ways_within()
    yield ways
    await ways.stop()


@pytest.fixture
def http(ways: Ways) -> HttpTransport:
    return http_over(ways)
