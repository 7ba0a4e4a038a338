"""The SQL of listing, narrowing and counting tokens."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import case, delete, select, tuple_, update

from interlock_auth.models import RevocationRow, TokenRow, TokenUseRow
from interlock_auth.store import Store
from interlock_common.messages.auth import ListTokens


class TokenStore(Store):
    """Tokens as their owners see them, within one transaction."""

    async def listed(
        self, asked: ListTokens, principal: str | None, before: TokenRow | None, now: int, limit: int
    ) -> Sequence[tuple[TokenRow, bool]]:
        """Tokens of a principal, or of everyone, newest first, each with whether it is revoked."""
        revoked = RevocationRow.token_id.is_not(None)
        query = select(TokenRow, revoked).outerjoin(RevocationRow, RevocationRow.token_id == TokenRow.id)
        conditions: list[Any] = []
        if principal is not None:
            conditions.append(TokenRow.principal == principal)
        if asked.team is not None:
            conditions.append(TokenRow.teams.contains(f'"{asked.team}"', autoescape=True))
        if asked.name is not None:
            conditions.append(TokenRow.name.icontains(asked.name, autoescape=True))
        if asked.status == "revoked":
            conditions.append(revoked)
        elif asked.status is not None:
            ended = TokenRow.expires_at <= now
            conditions += [~revoked, ended if asked.status == "expired" else ~ended]
        if before is not None:
            conditions.append(tuple_(TokenRow.created_at, TokenRow.id) < tuple_(before.created_at, before.id))
        query = query.where(*conditions).order_by(TokenRow.created_at.desc(), TokenRow.id.desc()).limit(limit)
        return [(row, bool(flag)) for row, flag in await self._session.execute(query)]

    async def change_token(self, token_id: str, **values: object) -> None:
        await self._session.execute(update(TokenRow).where(TokenRow.id == token_id).values(**values))

    async def narrowed_tokens(self, now: int, *, unpublished_only: bool) -> Sequence[TokenRow]:
        """Living tokens whose scopes are not those of their claim."""
        query = select(TokenRow).where(TokenRow.narrowed, TokenRow.expires_at >= now).order_by(TokenRow.id)
        if unpublished_only:
            query = query.where(TokenRow.narrowed_revision.is_(None))
        return (await self._session.scalars(query)).all()

    async def count_use(self, token_id: str, count: int, at: int) -> TokenRow | None:
        """Count requests in the hour and the day of ``at``; answers the token as it stands then, if there is one."""
        hour, day = at // 3600, at // 86400
        in_hour = case((TokenRow.used_hour == hour, TokenRow.used_in_hour + count), else_=count)
        later = case((TokenRow.last_used_at < at, at), else_=TokenRow.last_used_at)
        counted = update(TokenRow).where(TokenRow.id == token_id).values(
            used_total=TokenRow.used_total + count, used_hour=hour, used_in_hour=in_hour, last_used_at=later
        )  # fmt: skip
        row = await self._session.scalar(counted.returning(TokenRow).execution_options(populate_existing=True))
        if row is not None:
            insert = self._insert(TokenUseRow).values(token_id=token_id, day=day, count=count)
            again = insert.on_conflict_do_update(
                index_elements=[TokenUseRow.token_id, TokenUseRow.day], set_={"count": TokenUseRow.count + count}
            )
            await self._session.execute(again)
        return row

    async def used_on(self, token_id: str, day: int) -> int:
        row = await self._session.get(TokenUseRow, (token_id, day), populate_existing=True)
        return row.count if row is not None else 0

    async def days_of_use(self, token_id: str, limit: int) -> Sequence[TokenUseRow]:
        query = select(TokenUseRow).where(TokenUseRow.token_id == token_id).order_by(TokenUseRow.day.desc())
        return (await self._session.scalars(query.limit(limit))).all()

    async def prune_uses(self, before_day: int) -> None:
        await self._session.execute(delete(TokenUseRow).where(TokenUseRow.day < before_day))
