from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import open_engine, transaction
from interlock_common.sqlite import Connection


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[AsyncEngine]:
    engine = open_engine(f"sqlite:///{tmp_path}/some.db")
    async with transaction(engine) as session:
        await session.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"))
    yield engine
    await engine.dispose()


async def test_a_statement_with_its_rows_is_one_visit_to_the_thread(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[object] = []
    visit = Connection.visit

    async def counted(self: Connection, statement: object, *arguments: object) -> object:
        visits.append(statement)
        return await visit(self, statement, *arguments)

    monkeypatch.setattr(Connection, "visit", counted)
    async with transaction(engine) as session:
        await session.execute(text("INSERT INTO things (name) VALUES (:n)"), [{"n": str(n)} for n in range(3)])
        added = await session.execute(text("INSERT INTO things (name) VALUES ('3') RETURNING id, name"))
        assert added.one() == (4, "3")
        assert (await session.scalars(text("SELECT name FROM things ORDER BY id"))).all() == ["0", "1", "2", "3"]
    assert len(visits) == 3


async def test_what_fails_is_rolled_back_and_the_connection_goes_on(engine: AsyncEngine) -> None:
    async def twice() -> None:
        async with transaction(engine) as session:
            for _ in range(2):
                await session.execute(text("INSERT INTO things (name) VALUES ('same')"))

    with pytest.raises(IntegrityError):
        await twice()
    async with transaction(engine) as session:
        assert (await session.execute(text("SELECT count(*) FROM things"))).scalar_one() == 0


async def test_rows_can_be_streamed(engine: AsyncEngine) -> None:
    async with transaction(engine) as session:
        await session.execute(text("INSERT INTO things (name) VALUES (:n)"), [{"n": str(n)} for n in range(5)])
        streamed = await session.stream(text("SELECT id FROM things ORDER BY id"))
        assert [row.id async for row in streamed] == [1, 2, 3, 4, 5]
