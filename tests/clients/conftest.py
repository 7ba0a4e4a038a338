"""One gateway, one installation of everything, for all stories of other people's programs."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from matrix.stage import Stage, stage


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ready(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Stage]:
    async with stage(tmp_path_factory.mktemp("clients")) as up:
        yield up
