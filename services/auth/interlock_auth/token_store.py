"""The SQL of listing, narrowing and counting tokens."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, bindparam, case, delete, select, tuple_, update

from interlock_auth.models import RevocationRow, TokenRow, TokenUseRow
from interlock_auth.store import Store
from interlock_common.messages.auth import ListTokens
from interlock_common.messages.token_usage import TokenUse

HOUR, DAY = 3600, 86400
_N, _AT, _HOUR = (bindparam(name, type_=BigInteger) for name in ("n", "at", "hour"))
_COUNT = update(TokenRow).where(TokenRow.id == bindparam("token")).values(
    used_total=TokenRow.used_total + _N,
    used_hour=_HOUR,
    used_in_hour=case((TokenRow.used_hour == _HOUR, TokenRow.used_in_hour + _N), else_=_N),
    last_used_at=case((TokenRow.last_used_at < _AT, _AT), else_=TokenRow.last_used_at),
)  # fmt: skip


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

    async def count_uses(self, uses: Iterable[TokenUse]) -> list[str]:
        """Count requests in the hour and the day they came in; answers the tokens whose scopes may limit their use.

        Whole tables of values go down at once: what else auth writes, such as revocations, waits for no statistics.
        """
        every = sorted(uses, key=lambda each: each.id)  # one order, so that no two wait for each other
        query = select(TokenRow.id, TokenRow.scopes).where(TokenRow.id.in_({use.id for use in every}))
        known = {row.id: row.scopes for row in await self._session.execute(query)}
        counted = [
            {"token": use.id, "n": use.count, "at": use.last_at, "hour": use.last_at // HOUR, "day": use.last_at // DAY}
            for use in every
            if use.id in known
        ]
        if counted:
            daily = self._insert(TokenUseRow).values(
                token_id=bindparam("token"), day=bindparam("day"), count=bindparam("n")
            )
            again = daily.on_conflict_do_update(
                index_elements=[TokenUseRow.token_id, TokenUseRow.day],
                set_={"count": TokenUseRow.count + daily.excluded.count},
            )
            connection = await self._session.connection()
            await connection.execute(_COUNT, counted)
            await connection.execute(again, counted)
        return [token_id for token_id, scopes in known.items() if "usage_limits" in scopes]

    async def tokens(self, ids: Sequence[str]) -> Sequence[TokenRow]:
        return (await self._session.scalars(select(TokenRow).where(TokenRow.id.in_(ids)).order_by(TokenRow.id))).all()

    async def used_on(self, token_id: str, day: int) -> int:
        row = await self._session.get(TokenUseRow, (token_id, day), populate_existing=True)
        return row.count if row is not None else 0

    async def days_of_use(self, token_id: str, limit: int) -> Sequence[TokenUseRow]:
        query = select(TokenUseRow).where(TokenUseRow.token_id == token_id).order_by(TokenUseRow.day.desc())
        return (await self._session.scalars(query.limit(limit))).all()

    async def prune_uses(self, before_day: int) -> None:
        await self._session.execute(delete(TokenUseRow).where(TokenUseRow.day < before_day))
