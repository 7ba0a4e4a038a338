"""All SQL of grants; whoever handles the request opens the transaction."""

from typing import Any, cast

from sqlalchemy import CursorResult, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_common.messages.grants import NOBODY, Grant, GrantSummary, StoreGrant
from interlock_gateway.catalog.models import GrantRow, UpstreamRow


class GrantStore:
    """The table of grants in one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def grant(self, upstream_id: str, principal: str) -> Grant | None:
        row = await self._session.get(GrantRow, (upstream_id, principal))
        return None if row is None else Grant(row.sealed, row.generation)

    async def write(self, request: StoreGrant, now: int) -> Grant | None:
        """Store a grant; None where it does not have the generation any more that the request replaces."""
        values: dict[str, Any] = {
            "sealed": request.sealed, "scope": request.scope, "expires_at": request.expires_at, "claimed_by": "",
            "claimed_until": 0, "generation": GrantRow.generation + 1,
        }  # fmt: skip
        if request.replaces is None:
            values["granted_at"] = now
        changed = update(GrantRow).where(*_key(request.upstream_id, request.principal))
        if request.replaces is not None:
            changed = changed.where(GrantRow.generation == request.replaces)
        if await self._changed(changed.values(**values)):
            return await self._written(request)
        if request.replaces is not None:
            return None
        self._session.add(GrantRow(
            upstream_id=request.upstream_id, principal=request.principal,
            **values | {"generation": now * 1000},  # above that of a grant that was revoked before
        ))  # fmt: skip
        await self._session.flush()
        return await self._written(request)

    async def claim(self, upstream_id: str, principal: str, generation: int, holder: str, now: int, until: int) -> bool:
        """Take the refresh of a generation; whoever has it already takes it anew. Times in milliseconds."""
        free = or_(GrantRow.claimed_until < now, GrantRow.claimed_by == holder)
        claim = update(GrantRow).where(*_key(upstream_id, principal), GrantRow.generation == generation, free)
        return await self._changed(claim.values(claimed_by=holder, claimed_until=until))

    async def remove(self, upstream_id: str, principal: str, generation: int | None) -> bool:
        """Whether there was one, of that generation where one is given."""
        removal = delete(GrantRow).where(*_key(upstream_id, principal))
        if generation is not None:
            removal = removal.where(GrantRow.generation == generation)
        return await self._changed(removal)

    async def of_upstream(self, upstream_id: str) -> list[str]:
        """Whose grants an upstream has."""
        query = select(GrantRow.principal).where(GrantRow.upstream_id == upstream_id)
        return list((await self._session.execute(query)).scalars())

    async def listed(self, principal: str | None, after: tuple[str, str], limit: int) -> list[GrantSummary]:
        """A page of a principal's grants, or of everybody's, in the order of upstreams and principals."""
        query = (
            select(GrantRow, UpstreamRow.name)
            .join(UpstreamRow, UpstreamRow.id == GrantRow.upstream_id)
            .where(GrantRow.principal != NOBODY, tuple_(GrantRow.upstream_id, GrantRow.principal) > after)
            .order_by(GrantRow.upstream_id, GrantRow.principal)
            .limit(limit)
        )
        if principal is not None:
            query = query.where(GrantRow.principal == principal)
        return [
            GrantSummary(row.upstream_id, name, row.principal, row.scope, row.granted_at, row.expires_at)
            for row, name in await self._session.execute(query)
        ]

    async def batch(self, after: tuple[str, str], limit: int) -> list[tuple[str, str, Grant]]:
        """Everybody's grants, some at a time, with their upstreams and principals."""
        query = select(GrantRow).where(tuple_(GrantRow.upstream_id, GrantRow.principal) > after)
        rows = await self._session.execute(query.order_by(GrantRow.upstream_id, GrantRow.principal).limit(limit))
        return [(row.upstream_id, row.principal, Grant(row.sealed, row.generation)) for row in rows.scalars()]

    async def hurry(self, upstream_id: str, owner: str) -> None:
        """Have an upstream that could not be looked at without its owner's grant be looked at next."""
        waiting = update(UpstreamRow).where(
            UpstreamRow.id == upstream_id, UpstreamRow.owner == owner, UpstreamRow.reachable.is_(False)
        )
        await self._session.execute(waiting.values(due_at=0))

    async def _written(self, request: StoreGrant) -> Grant:
        query = select(GrantRow.generation).where(*_key(request.upstream_id, request.principal))
        return Grant(request.sealed, (await self._session.execute(query)).scalar_one())

    async def _changed(self, statement: Any) -> bool:
        return cast("CursorResult[Any]", await self._session.execute(statement)).rowcount == 1


def _key(upstream_id: str, principal: str) -> tuple[Any, Any]:
    return GrantRow.upstream_id == upstream_id, GrantRow.principal == principal
