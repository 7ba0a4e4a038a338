"""All SQL of upstreams; whoever handles the request opens the transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import CursorResult, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from interlock_common.messages.catalog import Upstream
from interlock_common.messages.common import Actor
from interlock_gateway.catalog.errors import NameTaken
from interlock_gateway.catalog.models import DefinitionRow, UpstreamRow
from interlock_gateway.catalog.pinning import Key, Pinned
from interlock_gateway.catalog.rows import pin_columns, pin_of, registration_columns, state_columns, upstream_of
from interlock_gateway.catalog.visible_rows import visible_to


@dataclass(frozen=True)
class Due:
    """An upstream whose turn to be looked at has come; ``due_at`` is what a claim compares."""

    id: str
    due_at: int


@dataclass(frozen=True)
class Registered:
    """An upstream without what it offers, and how many looks at it failed since the last that did not."""

    upstream: Upstream
    failures: int


class Store:
    """The tables of upstreams in one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_upstream(self, upstream: Upstream, *, at: int, due_at: int) -> None:
        """Store an upstream without what it offers; raises NameTaken when the name or the slug is in use."""
        row = UpstreamRow(
            id=upstream.id, owner=upstream.owner, refreshed_at=at, due_at=due_at, failures=0,
            **registration_columns(upstream), **state_columns(upstream),
        )  # fmt: skip
        self._session.add(row)
        try:
            await self._session.flush()
        except IntegrityError:
            raise _taken(upstream) from None

    async def register_anew(self, upstream: Upstream) -> None:
        """Store a new registration of an upstream; raises NameTaken when the name or the slug is in use."""
        columns = registration_columns(upstream)
        try:
            await self._session.execute(update(UpstreamRow).where(UpstreamRow.id == upstream.id).values(**columns))
        except IntegrityError:
            raise _taken(upstream) from None

    async def upstream(self, upstream_id: str) -> Upstream | None:
        """One upstream with what it offers."""
        query = select(UpstreamRow).where(UpstreamRow.id == upstream_id).options(selectinload(UpstreamRow.definitions))
        row = (await self._session.execute(query)).scalar_one_or_none()
        return None if row is None else upstream_of(row, row.definitions)

    async def registered(self, upstream_id: str) -> Registered | None:
        row = await self._session.get(UpstreamRow, upstream_id)
        return None if row is None else Registered(upstream_of(row, ()), row.failures)

    async def named(self, name: str) -> Upstream | None:
        """The upstream of a name, without what it offers."""
        query = select(UpstreamRow).where(UpstreamRow.name == name)
        row = (await self._session.execute(query)).scalar_one_or_none()
        return None if row is None else upstream_of(row, ())

    async def upstreams(self, actor: Actor, after: str | None, limit: int) -> list[Upstream]:
        """A page of what ``actor`` may see, in the order of their ids, without what they offer."""
        query = select(UpstreamRow).order_by(UpstreamRow.id).limit(limit)
        if after is not None:
            query = query.where(UpstreamRow.id > after)
        if not actor.is_admin:
            query = query.where(visible_to(actor, UpstreamRow))
        return [upstream_of(row, ()) for row in (await self._session.execute(query)).scalars()]

    async def batch(self, after: str, limit: int) -> list[Upstream]:
        """All upstreams with what they offer, some at a time, in the order of their ids."""
        query = select(UpstreamRow).where(UpstreamRow.id > after).order_by(UpstreamRow.id).limit(limit)
        rows = (await self._session.execute(query.options(selectinload(UpstreamRow.definitions)))).scalars()
        return [upstream_of(row, row.definitions) for row in rows]

    async def announcing(self, limit: int) -> list[Upstream]:
        """Reachable upstreams that announce changes of what they offer, without that."""
        query = select(UpstreamRow).where(UpstreamRow.reachable, UpstreamRow.listens).order_by(UpstreamRow.id)
        return [upstream_of(row, ()) for row in (await self._session.execute(query.limit(limit))).scalars()]

    async def remove_upstream(self, upstream_id: str) -> None:
        await self._session.execute(delete(UpstreamRow).where(UpstreamRow.id == upstream_id))

    # looking

    async def due(self, now: int, limit: int) -> list[Due]:
        """Upstreams that are to be looked at by ``now``, the longest waiting first."""
        query = select(UpstreamRow.id, UpstreamRow.due_at).where(UpstreamRow.due_at <= now)
        rows = await self._session.execute(query.order_by(UpstreamRow.due_at).limit(limit))
        return [Due(upstream_id, due_at) for upstream_id, due_at in rows.all()]

    async def claim(self, due: Due, until: int) -> bool:
        """Take the look at an upstream, up to the moment ``until``; only one of several replicas gets it."""
        condition = (UpstreamRow.id == due.id, UpstreamRow.due_at == due.due_at)
        return await self._changed_one(update(UpstreamRow).where(*condition).values(due_at=until))

    async def begin(self, upstream_id: str, at: int) -> bool:
        """Keep others from changing the upstream until the transaction ends; False when it is gone."""
        return await self._changed_one(update(UpstreamRow).where(UpstreamRow.id == upstream_id).values(refreshed_at=at))

    async def looked_at(self, upstream: Upstream, *, failures: int, due_at: int) -> None:
        """Store what a look found out about an upstream, besides what it offers."""
        values = state_columns(upstream) | {"failures": failures, "due_at": due_at}
        await self._session.execute(update(UpstreamRow).where(UpstreamRow.id == upstream.id).values(**values))

    async def pins(self, upstream_id: str) -> dict[Key, Pinned]:
        """All that is pinned of an upstream, what is gone included."""
        query = select(DefinitionRow).where(DefinitionRow.upstream_id == upstream_id)
        pins = (pin_of(row) for row in (await self._session.execute(query)).scalars())
        return {pin.key: pin for pin in pins}

    async def write_pins(self, upstream_id: str, before: Mapping[Key, Pinned], after: Mapping[Key, Pinned]) -> None:
        """Bring what is pinned from ``before`` to ``after``, touching what differs."""
        stale = [key for key, pin in before.items() if after.get(key) != pin]
        fresh = [pin for key, pin in after.items() if before.get(key) != pin]
        connection = await self._session.connection()
        if stale:
            condition = (
                DefinitionRow.upstream_id == upstream_id,
                DefinitionRow.kind == bindparam("its_kind"),
                DefinitionRow.name == bindparam("its_name"),
            )
            await connection.execute(
                delete(DefinitionRow).where(*condition), [{"its_kind": kind, "its_name": name} for kind, name in stale]
            )
        if fresh:
            await connection.execute(insert(DefinitionRow), _rows(upstream_id, fresh))

    async def ping(self) -> None:
        """Raises what the database raises when it is away or not migrated."""
        await self._session.execute(select(UpstreamRow.due_at).limit(1))

    async def _changed_one(self, statement: Any) -> bool:
        return cast("CursorResult[Any]", await self._session.execute(statement)).rowcount == 1


def _rows(upstream_id: str, pins: Iterable[Pinned]) -> list[dict[str, Any]]:
    return [{"upstream_id": upstream_id, **pin_columns(pin)} for pin in pins]


def _taken(upstream: Upstream) -> NameTaken:
    return NameTaken(f"an upstream named {upstream.name}, or much the same, exists already")
