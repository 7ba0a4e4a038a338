"""Fixtures that every service's tests may import from their ``conftest.py``."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from interlock_common.testing.bus import EmbeddedBus


@pytest.fixture
async def embedded_bus(tmp_path: Path) -> AsyncGenerator[EmbeddedBus]:
    """A running nats-server with mutual TLS and the permissions of the deployment."""
    bus = EmbeddedBus(tmp_path)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()
