"""SQLite without waiting four times for one statement.

A connection of aiosqlite has a thread, and SQLAlchemy visits it to make a cursor, to execute, to fetch and to close. On
a busy machine each visit waits for the processor twice. Here a statement with its rows is one visit, and what ends a
transaction that never began is none.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Self

import aiosqlite

_CHUNK = 64


class Connection(aiosqlite.Connection):
    """A connection to the database in ``path`` that waits up to ``timeout`` seconds for the locks of others."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__(lambda: sqlite3.connect(path, timeout=timeout, check_same_thread=False), _CHUNK)
        self._thread.daemon = True

    def cursor(self) -> "Cursor":  # pyright: ignore[reportIncompatibleMethodOverride] - SQLAlchemy only enters it
        return Cursor(self)

    async def commit(self) -> None:
        if self.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        if self.in_transaction:
            await super().rollback()

    async def visit(self, statement: Any, *arguments: Any) -> Any:
        """Run ``statement(connection, …)`` in the thread of the connection."""
        return await self._execute(statement, self._conn, *arguments)  # pyright: ignore[reportUnknownMemberType]


class Cursor:
    """What SQLAlchemy asks of a cursor; the rows are there once a statement was executed."""

    def __init__(self, connection: Connection) -> None:
        self.description: Any = None
        self.rowcount, self.lastrowid, self.arraysize = -1, 0, 1
        self._connection = connection
        self._rows: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> Self:
        self._take(*await self._connection.visit(_executed, sql, parameters))
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        self._take(*await self._connection.visit(_executed_for_each, sql, parameters))
        return self

    async def fetchall(self) -> Sequence[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        count = size or self.arraysize
        rows, self._rows = self._rows[:count], self._rows[count:]
        return rows

    async def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    async def close(self) -> None:
        self._rows = []

    def _take(self, description: Any, rows: list[Any], rowcount: int, lastrowid: int | None) -> None:
        self.description, self._rows, self.rowcount, self.lastrowid = description, rows, rowcount, lastrowid or 0


type _Executed = tuple[Any, list[Any], int, int | None]


def _executed(connection: sqlite3.Connection, sql: str, parameters: Any) -> _Executed:
    return _result(connection.execute(sql, parameters))


def _executed_for_each(connection: sqlite3.Connection, sql: str, parameters: Any) -> _Executed:
    return _result(connection.executemany(sql, parameters))


def _result(cursor: sqlite3.Cursor) -> _Executed:
    try:
        rows = [] if cursor.description is None else cursor.fetchall()
        return cursor.description, rows, cursor.rowcount, cursor.lastrowid
    finally:
        cursor.close()
