import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit.models import Base
from interlock_audit.testing import Log
from interlock_common.database import migrate, open_engine

POSTGRES = os.environ.get("TEST_POSTGRES_URL")


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRES else [])])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[AsyncEngine]:
    url = f"sqlite:///{tmp_path}/audit.db"
    if request.param == "postgresql":
        assert POSTGRES is not None
        url = POSTGRES
        await _empty(url)
    await asyncio.to_thread(migrate, url, "interlock_audit")
    engine = open_engine(url)
    yield engine
    await engine.dispose()


@pytest.fixture
def log(engine: AsyncEngine, tmp_path: Path) -> Log:
    return Log(engine, tmp_path)


async def _empty(url: str) -> None:
    engine = open_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.execute(text("DROP TABLE IF EXISTS alembic_version_audit"))
    await engine.dispose()
