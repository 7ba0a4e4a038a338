"""The SQL of selectors. Whoever calls owns the transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_auth.models import SelectorRow, TokenRow


class SelectorStore:
    """The table ``selectors``, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, kind: str, subject: str) -> SelectorRow | None:
        return await self._session.get(SelectorRow, (kind, subject))

    async def tighten(self, row: SelectorRow) -> None:
        """Add the selector; where there is one already, the later moment and the later expiry stand."""
        values = {column.key: getattr(row, column.key) for column in SelectorRow.__table__.columns}
        dialect = self._session.get_bind().dialect.name
        insert: Any = (sqlite if dialect == "sqlite" else postgresql).insert(SelectorRow).values(**values)
        fresh = insert.excluded
        later = fresh.before >= SelectorRow.before
        await self._session.execute(insert.on_conflict_do_update(
            index_elements=[SelectorRow.kind, SelectorRow.subject],
            set_={
                "before": case((later, fresh.before), else_=SelectorRow.before),
                "reason": case((later, fresh.reason), else_=SelectorRow.reason),
                "revoked_by": case((later, fresh.revoked_by), else_=SelectorRow.revoked_by),
                "revoked_at": case((later, fresh.revoked_at), else_=SelectorRow.revoked_at),
                "expires_at": case(
                    (fresh.expires_at >= SelectorRow.expires_at, fresh.expires_at), else_=SelectorRow.expires_at
                ),
                "revision": None,
            },
        ))  # fmt: skip

    async def set_revision(self, row: SelectorRow, revision: int) -> None:
        """Remember that the selector is published as it is; one that was tightened meanwhile is not yet."""
        same = (SelectorRow.kind == row.kind, SelectorRow.subject == row.subject, SelectorRow.before == row.before)
        await self._session.execute(update(SelectorRow).where(*same).values(revision=revision))

    async def live(self, now: int, *, unpublished_only: bool) -> Sequence[SelectorRow]:
        query = select(SelectorRow).where(SelectorRow.expires_at >= now).order_by(SelectorRow.kind, SelectorRow.subject)
        if unpublished_only:
            query = query.where(SelectorRow.revision.is_(None))
        return (await self._session.scalars(query)).all()

    async def prune(self, expired_before: int) -> None:
        await self._session.execute(delete(SelectorRow).where(SelectorRow.expires_at < expired_before))

    async def latest_expiry(self, before: int) -> int:
        """When the last of the tokens ends that were issued before a moment; 0 where there are none."""
        query = select(func.max(TokenRow.expires_at)).where(TokenRow.created_at < before)
        return int((await self._session.execute(query)).scalar_one_or_none() or 0)
