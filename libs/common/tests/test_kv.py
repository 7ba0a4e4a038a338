import asyncio
from collections.abc import AsyncGenerator

import pytest

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import NotFound
from interlock_common.messages.gateway import UpstreamSession
from interlock_common.messages.resources import UPSTREAM_SESSIONS
from interlock_common.testing.bus import EmbeddedBus

ONE, TWO = UpstreamSession("one", "2025-11-25"), UpstreamSession("two", "2025-11-25")


@pytest.fixture
async def bus(embedded_bus: EmbeddedBus) -> AsyncGenerator[Bus]:
    bus = embedded_bus.bus("gateway")
    await bus.start()
    await kv.ensure_bucket(bus, UPSTREAM_SESSIONS)
    yield bus
    await bus.stop()


async def test_a_key_is_created_by_one_only(bus: Bus) -> None:
    made = await asyncio.gather(*[kv.create(bus, UPSTREAM_SESSIONS, "k", value) for value in (ONE, TWO)])
    assert sorted(made) == [False, True]
    assert await kv.get(bus, UPSTREAM_SESSIONS, "k", UpstreamSession) == (ONE, TWO)[made.index(True)]


async def test_a_key_that_was_removed_or_expired_can_be_created_again(bus: Bus) -> None:
    assert await kv.create(bus, UPSTREAM_SESSIONS, "k", ONE)
    await kv.delete(bus, UPSTREAM_SESSIONS, "k")
    assert await kv.create(bus, UPSTREAM_SESSIONS, "k", TWO, ttl=1)
    async with asyncio.timeout(10):
        while await kv.get(bus, UPSTREAM_SESSIONS, "k", UpstreamSession) is not None:  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0.05)
    with pytest.raises(NotFound):
        await kv.update(bus, UPSTREAM_SESSIONS, "k", UpstreamSession, lambda session: session)
    assert await kv.create(bus, UPSTREAM_SESSIONS, "k", ONE)


async def test_a_key_is_discarded_only_with_the_value_it_was_to_have(bus: Bus) -> None:
    await kv.put(bus, UPSTREAM_SESSIONS, "k", ONE)
    assert not await kv.discard(bus, UPSTREAM_SESSIONS, "k", TWO)
    assert await kv.discard(bus, UPSTREAM_SESSIONS, "k", ONE)
    assert not await kv.discard(bus, UPSTREAM_SESSIONS, "k", ONE)
    assert await kv.get(bus, UPSTREAM_SESSIONS, "k", UpstreamSession) is None
