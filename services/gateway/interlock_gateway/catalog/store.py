"""All SQL of upstreams; whoever handles the request opens the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from interlock_common.messages.catalog import Definition, Era, Upstream, Visibility
from interlock_common.messages.common import Actor
from interlock_gateway.catalog.errors import NameTaken
from interlock_gateway.catalog.models import ToolRow, UpstreamRow
from interlock_gateway.catalog.visible_rows import visible_to


@dataclass(frozen=True)
class Due:
    """An upstream whose turn to be looked at has come; ``refreshed_at`` is what a claim compares."""

    id: str
    url: str
    wanted_era: Era | None
    refreshed_at: int


class Store:
    """The tables of upstreams in one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # upstreams

    async def add_upstream(self, upstream: Upstream, *, wanted_era: Era | None, at: int) -> None:
        """Raises NameTaken when the name or the slug is in use."""
        row = UpstreamRow(
            id=upstream.id, name=upstream.name, slug=upstream.slug, url=upstream.url,
            description=upstream.description, wanted_era=wanted_era, era=upstream.era,
            protocol_version=upstream.protocol_version, owner=upstream.owner, visibility=upstream.visibility,
            team=upstream.team, reachable=upstream.reachable, problem=upstream.problem, refreshed_at=at,
            tools=_tool_rows(upstream.tools),
        )  # fmt: skip
        await self._add(row, f"an upstream named {upstream.name}, or much the same, exists already")

    async def upstream(self, upstream_id: str) -> Upstream | None:
        """One upstream with its tools."""
        query = select(UpstreamRow).where(UpstreamRow.id == upstream_id).options(selectinload(UpstreamRow.tools))
        row = (await self._session.execute(query)).scalar_one_or_none()
        return None if row is None else _upstream(row, row.tools)

    async def upstreams(self, actor: Actor, after: str | None, limit: int) -> list[Upstream]:
        """A page of what ``actor`` may see, in the order of their ids, without tools."""
        query = select(UpstreamRow).order_by(UpstreamRow.id).limit(limit)
        if after is not None:
            query = query.where(UpstreamRow.id > after)
        if not actor.is_admin:
            query = query.where(visible_to(actor, UpstreamRow))
        return [_upstream(row, ()) for row in (await self._session.execute(query)).scalars()]

    async def upstream_ids(self) -> list[str]:
        return list((await self._session.execute(select(UpstreamRow.id))).scalars())

    async def remove_upstream(self, upstream_id: str) -> None:
        await self._session.execute(delete(UpstreamRow).where(UpstreamRow.id == upstream_id))

    # refreshing

    async def due(self, before: int, limit: int) -> list[Due]:
        """Upstreams last looked at before the moment ``before``, the longest waiting first."""
        query = (
            select(UpstreamRow.id, UpstreamRow.url, UpstreamRow.wanted_era, UpstreamRow.refreshed_at)
            .where(UpstreamRow.refreshed_at <= before)
            .order_by(UpstreamRow.refreshed_at)
            .limit(limit)
        )
        return [Due(i, url, _era(wanted), at) for i, url, wanted, at in (await self._session.execute(query)).all()]

    async def wanted(self, upstream_id: str) -> Due | None:
        query = select(UpstreamRow).where(UpstreamRow.id == upstream_id)
        row = (await self._session.execute(query)).scalar_one_or_none()
        return None if row is None else Due(row.id, row.url, _era(row.wanted_era), row.refreshed_at)

    async def claim(self, due: Due, at: int) -> bool:
        """Take the refresh of an upstream; only one of several replicas gets it."""
        condition = (UpstreamRow.id == due.id, UpstreamRow.refreshed_at == due.refreshed_at)
        result = await self._session.execute(update(UpstreamRow).where(*condition).values(refreshed_at=at))
        return cast("CursorResult[Any]", result).rowcount == 1

    async def update_upstream(self, upstream: Upstream, *, at: int, tools_changed: bool) -> bool:
        """Store what a refresh found; False when the upstream is gone meanwhile."""
        found = {
            "era": upstream.era, "protocol_version": upstream.protocol_version, "reachable": upstream.reachable,
            "problem": upstream.problem, "refreshed_at": at,
        }  # fmt: skip
        result = await self._session.execute(update(UpstreamRow).where(UpstreamRow.id == upstream.id).values(**found))
        if cast("CursorResult[Any]", result).rowcount == 0:
            return False
        if tools_changed:
            await self._session.execute(delete(ToolRow).where(ToolRow.upstream_id == upstream.id))
            rows = _tool_rows(upstream.tools)
            for row in rows:
                row.upstream_id = upstream.id
            self._session.add_all(rows)
        return True

    async def ping(self) -> None:
        """Raises what the database raises when it is away or not migrated."""
        await self._session.execute(select(UpstreamRow.id).limit(1))

    async def _add(self, row: UpstreamRow, taken: str) -> None:
        self._session.add(row)
        try:
            await self._session.flush()
        except IntegrityError:
            raise NameTaken(taken) from None


def _tool_rows(tools: Sequence[Definition]) -> list[ToolRow]:
    return [
        ToolRow(name=tool.name, position=position, definition=bytes(tool.definition), digest=tool.digest)
        for position, tool in enumerate(tools)
    ]


def _upstream(row: UpstreamRow, tools: Sequence[ToolRow]) -> Upstream:
    return Upstream(
        id=row.id, name=row.name, slug=row.slug, url=row.url, era=cast("Era", row.era),
        protocol_version=row.protocol_version, owner=row.owner, visibility=cast("Visibility", row.visibility),
        team=row.team, reachable=row.reachable, problem=row.problem, description=row.description,
        tools=tuple(Definition(tool.name, msgspec.Raw(tool.definition), tool.digest) for tool in tools),
    )  # fmt: skip


def _era(value: str | None) -> Era | None:
    return cast("Era | None", value)
