import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import migrate, open_engine, transaction
from interlock_gateway.catalog.models import Base
from interlock_gateway.catalog.testing import Parts, wire

EXAMPLES = Path(__file__).parents[4] / "examples"
POSTGRES = os.environ.get("TEST_POSTGRES_URL")
START_SECONDS = 60.0


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES else ["sqlite"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[AsyncEngine]:
    """A migrated, empty database."""
    url = f"sqlite:///{tmp_path}/catalog.db" if request.param == "sqlite" else str(POSTGRES)
    # In a thread: migrations on PostgreSQL run a loop of their own.
    await asyncio.to_thread(migrate, url, "interlock_gateway.catalog")
    engine = open_engine(url)
    async with transaction(engine) as session:
        for table in reversed(Base.metadata.sorted_tables):
            await session.execute(table.delete())
    yield engine
    await engine.dispose()


@pytest.fixture
def parts(engine: AsyncEngine) -> Parts:
    return wire(engine)


@pytest.fixture
async def http() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="session")
def notes() -> Generator[str]:
    """The notes server, which speaks both eras."""
    with example_server("notes_server.py") as url:
        yield url


@pytest.fixture(scope="session")
def legacy_weather() -> Generator[str]:
    with example_server("weather_server.py", "--legacy") as url:
        yield url


@pytest.fixture(scope="session")
def modern_weather() -> Generator[str]:
    with example_server("weather_server.py", "--modern") as url:
        yield url


@pytest.fixture
def serve_example() -> Callable[..., AbstractAsyncContextManager[str]]:
    """Starts an example without holding up the loop, in which its collector may run."""

    @asynccontextmanager
    async def serve(script: str, *options: str) -> AsyncGenerator[str]:
        manager = example_server(script, *options)
        url = await asyncio.to_thread(manager.__enter__)
        try:
            yield url
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)

    return serve


@contextmanager
def example_server(script: str, *options: str) -> Generator[str]:
    """A real MCP server in a process of its own, accepting connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(EXAMPLES / script), "--port", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"no server on port {port} within {START_SECONDS:g} s")
