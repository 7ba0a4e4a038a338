import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest

from interlock_common import health
from interlock_common.errors import ConfigurationError
from interlock_common.health import Health


@pytest.fixture
async def listener() -> AsyncGenerator[Health]:
    listener = Health("auth", "127.0.0.1", 0)
    await listener.start()
    yield listener
    await listener.stop()


async def asked(listener: Health, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{listener.port}{path}") as answer,
    ):
        return answer.status, await answer.json()


async def test_a_process_without_problems_is_healthy_and_ready(listener: Health) -> None:
    assert await asked(listener, "/health") == (200, {"status": "healthy", "service": "auth", "problems": {}})
    assert await asked(listener, "/ready") == (200, {"status": "ready", "service": "auth", "problems": {}})


async def test_what_is_away_keeps_work_away_and_is_named(listener: Health) -> None:
    reason: list[str | None] = ["no connection"]
    listener.ready_when("bus", lambda: reason[0])
    assert (await asked(listener, "/health"))[0] == 200
    status, body = await asked(listener, "/ready")
    assert (status, body["status"], body["problems"]) == (503, "not ready", {"bus": "no connection"})
    reason[0] = None
    assert (await asked(listener, "/ready"))[0] == 200


async def test_what_a_process_cannot_live_without_fails_both(listener: Health) -> None:
    listener.alive_when("loop", lambda: "stuck")
    for path, status in (("/health", "unhealthy"), ("/ready", "not ready")):
        code, body = await asked(listener, path)
        assert (code, body["status"], body["problems"]) == (503, status, {"loop": "stuck"})


async def test_a_port_in_use_is_named_with_its_setting(listener: Health) -> None:
    second = Health("auth", "127.0.0.1", listener.port)
    with pytest.raises(ConfigurationError, match=f"HEALTH_PORT {listener.port} on 127.0.0.1"):
        await second.start()
    await second.stop()


async def test_the_probe_of_containers_says_the_same(listener: Health, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{listener.port}/ready"
    assert await asyncio.to_thread(health.probe, url) == 0
    listener.ready_when("bus", lambda: "away")
    assert await asyncio.to_thread(health.probe, url) == 1
    assert "503" in capsys.readouterr().err
    assert await asyncio.to_thread(health.probe, "http://127.0.0.1:9/health") == 1
