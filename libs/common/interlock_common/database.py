"""Databases: SQLAlchemy 2 async on SQLite (embedded) or PostgreSQL (deployed), migrated by Alembic.

A store receives an ``AsyncSession``; whoever handles the request opens the transaction with ``transaction``.
"""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from alembic import command, context
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, event, pool
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from interlock_common.errors import ConfigurationError, InvalidInput
from interlock_common.sqlite import Connection

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_TLS, _IDENTITY = "tls", "identity"
_RECYCLE_SECONDS = 3600
_NOT_IN_REPERTOIRE = "22021"  # PostgreSQL, appendix A: character_not_in_repertoire
_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_metadata() -> MetaData:
    """Metadata whose constraints have predictable names, so that migrations can speak of them."""
    return MetaData(naming_convention=_NAMING)


class ClientIdentity(Protocol):
    """What a connection to PostgreSQL shows, and verifies the server by: ``identity.py``."""

    def client_context(self) -> ssl.SSLContext: ...


def shows_identity(url: str) -> bool:
    """Whether the address says ``tls=identity``: that connections show the certificate of the service."""
    wanted = make_url(url).query.get(_TLS)
    if wanted not in {None, _IDENTITY}:
        raise ConfigurationError(f"DATABASE_URL may say {_TLS}={_IDENTITY}, or nothing about {_TLS}")
    return wanted is not None


def async_url(url: str) -> str:
    """``sqlite:///…`` or ``postgresql://…`` with the async driver that belongs to it."""
    parsed = make_url(url).difference_update_query([_TLS])
    driver = _DRIVERS.get(parsed.get_backend_name())
    if driver is None:
        raise ConfigurationError(f"DATABASE_URL must be sqlite:// or postgresql://, not {parsed.get_backend_name()}://")
    return parsed.set(drivername=driver).render_as_string(hide_password=False)


def open_engine(url: str, identity: ClientIdentity | None = None) -> AsyncEngine:
    """An engine with bounded waits; SQLite in WAL mode with foreign keys on.

    Where the address says ``tls=identity``, each connection to PostgreSQL verifies the server by the trust bundle, and
    shows the certificate, of the moment at which it is opened; none is used for longer than an hour.
    """
    full = async_url(url)
    if full.startswith("sqlite"):
        engine = create_async_engine(full, async_creator=partial(Connection, make_url(full).database or ":memory:", 10))
        event.listen(engine.sync_engine, "connect", _sqlite_pragmas)
        return engine
    engine = create_async_engine(full, pool_size=5, max_overflow=5, pool_timeout=5, pool_pre_ping=True,
                                 pool_recycle=_RECYCLE_SECONDS,
                                 connect_args={"timeout": 10, "command_timeout": 30})  # fmt: skip
    if shows_identity(url):
        if identity is None:
            raise ConfigurationError(f"DATABASE_URL says {_TLS}={_IDENTITY}, and there is no identity to show here")
        event.listen(engine.sync_engine, "do_connect", _showing(identity))
    return engine


def _showing(identity: ClientIdentity) -> Callable[..., None]:
    def show(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
        parameters["ssl"] = identity.client_context()

    return show


def _sqlite_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncGenerator[AsyncSession]:
    """One unit of work: committed when the block ends, rolled back when it raises.

    Raises InvalidInput for a text that PostgreSQL cannot keep, such as one with a NUL.
    """
    try:
        async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _NOT_IN_REPERTOIRE:
            raise
        raise InvalidInput("a text holds a character that cannot be kept") from None


def migrate(url: str, package: str) -> None:
    """Bring the database of ``package`` (say ``interlock_auth``) to the newest schema; safe to repeat."""
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.attributes["url"] = async_url(url)
    command.upgrade(config, "head")


def run_migrations(metadata: MetaData, service: str) -> None:
    """What each service's ``migrations/env.py`` calls: one version table per service, so databases can be shared."""
    url = make_url(context.config.attributes["url"])
    sync_driver = {"sqlite": "sqlite", "postgresql": "postgresql+asyncpg"}[url.get_backend_name()]
    if sync_driver == "sqlite":
        engine = create_engine(url.set(drivername="sqlite"), poolclass=pool.NullPool)
        with engine.connect() as connection:
            _run(connection, metadata, service)
        engine.dispose()
        return
    import asyncio  # noqa: PLC0415 - only where asyncpg is the driver

    async def run() -> None:
        async_engine = create_async_engine(url, poolclass=pool.NullPool)
        async with async_engine.connect() as connection:
            await connection.run_sync(lambda sync: _run(sync, metadata, service))
        await async_engine.dispose()

    asyncio.run(run())


def _run(connection: Any, metadata: MetaData, service: str) -> None:
    context.configure(connection=connection, target_metadata=metadata, version_table=f"alembic_version_{service}",
                      render_as_batch=connection.dialect.name == "sqlite")  # fmt: skip
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
