"""What was stored by an earlier version is still there, and counts as accepted."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from interlock_common.database import async_url, migrate, open_engine, transaction
from interlock_gateway.catalog.models import Base
from interlock_gateway.catalog.store import Store

PACKAGE = "interlock_gateway.catalog"


def migrate_to(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", f"{PACKAGE}:migrations")
    config.attributes["url"] = async_url(url)
    (command.upgrade if revision >= "0002" else command.downgrade)(config, revision)


def fill(path: Path) -> None:
    """One upstream with one tool, as the second revision stored them."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text(
            "INSERT INTO upstreams (id, name, slug, url, description, era, protocol_version, owner, visibility,"
            " reachable, problem, refreshed_at) VALUES ('u1', 'Notes', 'notes', 'https://x', '', 'legacy',"
            " '2025-11-25', 'me', 'public', 1, '', 5)"
        ))  # fmt: skip
        connection.execute(
            text("INSERT INTO upstream_tools (upstream_id, name, position, definition, digest) VALUES"
                 " ('u1', 'a', 0, :definition, 'sha256:1')"), {"definition": b'{"name":"a"}'}
        )  # fmt: skip
    engine.dispose()


async def test_tools_of_an_earlier_version_are_accepted_definitions(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    url = f"sqlite:///{path}"
    await asyncio.to_thread(migrate_to, url, "0002")
    fill(path)
    await asyncio.to_thread(migrate, url, PACKAGE)
    engine = open_engine(url)
    async with transaction(engine) as session:
        upstream = await Store(session).upstream("u1")
        pins = await Store(session).pins("u1")
        due = await Store(session).due(0, 10)
    await engine.dispose()
    assert upstream is not None
    assert (upstream.transport, bytes(upstream.capabilities), upstream.credential.kind) == ("http", b"{}", "none")
    assert [(each.name, bytes(each.definition), each.standing) for each in upstream.tools] == [
        ("a", b'{"name":"a"}', "accepted")
    ]
    assert pins["tool", "a"].accepted == b'{"name":"a"}'
    assert [each.id for each in due] == ["u1"]


async def test_the_tables_are_those_of_the_models(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalog.db"
    await asyncio.to_thread(migrate, url, PACKAGE)
    engine = create_engine(url)
    with engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            found = {row[1] for row in connection.execute(text(f"PRAGMA table_info({table.name})"))}
            assert found == {column.name for column in table.columns}
    engine.dispose()


async def test_a_migration_can_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    url = f"sqlite:///{path}"
    await asyncio.to_thread(migrate_to, url, "0002")
    fill(path)
    await asyncio.to_thread(migrate, url, PACKAGE)
    await asyncio.to_thread(migrate_to, url, "0001")
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name, digest FROM upstream_tools")).all() == [("a", "sha256:1")]
    engine.dispose()
