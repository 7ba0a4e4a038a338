"""Connectors on a real bus, with real commands; the catalog's bucket holds what a test puts there."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from interlock_common import kv
from interlock_common.messages import resources
from interlock_common.subscriptions import Subscriptions
from interlock_common.testing.bus import EmbeddedBus
from interlock_gateway.connector.testing import World
from interlock_gateway.exchanges.client import ExchangeClient
from interlock_gateway.upstreams.bus import BusTransport

HERE = Path(__file__).parent


@pytest.fixture
async def world(embedded_bus: EmbeddedBus, tmp_path: Path) -> AsyncGenerator[World]:
    edge, catalog = embedded_bus.bus("gateway"), embedded_bus.bus("catalog")
    await asyncio.gather(edge.start(), catalog.start())
    await kv.ensure_bucket(catalog, resources.CATALOG)
    client = ExchangeClient(edge, Subscriptions(edge), max_answer=8 * 1024 * 1024, silence=5)
    await client.start()
    raw, sdk = ((sys.executable, str(HERE / name)) for name in ("raw_server.py", "sdk_server.py"))
    world = World(embedded_bus, edge, catalog, BusTransport(client), tmp_path, raw, sdk)
    yield world
    for process in world.connectors:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
    await asyncio.gather(edge.stop(), catalog.stop())
