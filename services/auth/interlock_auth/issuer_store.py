"""All SQL about authorization servers of others. Whoever calls owns the transaction."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select, update

from interlock_auth.issuer_models import AssertionRow, IdentityRow, IssuerRow, ProviderLoginRow
from interlock_auth.store import Store


class IssuerStore(Store):
    """The tables about authorization servers of others, within one transaction."""

    async def issuer(self, name: str) -> IssuerRow | None:
        return await self._session.get(IssuerRow, name, populate_existing=True)

    async def issuers(self) -> Sequence[IssuerRow]:
        return (await self._session.scalars(select(IssuerRow).order_by(IssuerRow.name))).all()

    async def add(self, row: IssuerRow | IdentityRow | ProviderLoginRow) -> None:
        self._session.add(row)
        await self._session.flush()

    async def change_issuer(self, name: str, **values: object) -> bool:
        """Whether there was one to change."""
        statement = update(IssuerRow).where(IssuerRow.name == name).values(**values)
        return await self._touched(statement.returning(IssuerRow.name))

    async def begin_reading(self, name: str, now: int, pause: int) -> bool:
        """Whether the keys may be asked for now: of all replicas one does, and not before ``pause`` seconds passed."""
        due = (IssuerRow.name == name, IssuerRow.tried_at <= now - pause)
        return await self._touched(update(IssuerRow).where(*due).values(tried_at=now).returning(IssuerRow.name))

    async def remove_issuer(self, name: str) -> None:
        await self._session.execute(delete(IssuerRow).where(IssuerRow.name == name))

    # identities

    async def identity(self, issuer: str, subject: str) -> IdentityRow | None:
        return await self._session.get(IdentityRow, (issuer, subject), populate_existing=True)

    async def identities(self, issuer: str, after: str | None, limit: int) -> Sequence[IdentityRow]:
        query = select(IdentityRow).where(IdentityRow.issuer == issuer).order_by(IdentityRow.subject).limit(limit)
        if after is not None:
            query = query.where(IdentityRow.subject > after)
        return (await self._session.scalars(query)).all()

    async def all_identities(self, *, unpublished_only: bool) -> Sequence[IdentityRow]:
        query = select(IdentityRow).order_by(IdentityRow.issuer, IdentityRow.subject)
        if unpublished_only:
            query = query.where(~IdentityRow.published)
        return (await self._session.scalars(query)).all()

    async def mark_identity_published(self, issuer: str, subject: str) -> None:
        theirs = (IdentityRow.issuer == issuer, IdentityRow.subject == subject)
        await self._session.execute(update(IdentityRow).where(*theirs).values(published=True))

    async def remove_identity(self, issuer: str, subject: str) -> bool:
        theirs = (IdentityRow.issuer == issuer, IdentityRow.subject == subject)
        return await self._touched(delete(IdentityRow).where(*theirs).returning(IdentityRow.subject))

    # logins under way, and assertions that were used

    async def count_logins(self) -> int:
        return int((await self._session.execute(select(func.count()).select_from(ProviderLoginRow))).scalar_one())

    async def take_login(self, digest: bytes) -> ProviderLoginRow | None:
        """The login with this state, which nobody takes again."""
        statement = delete(ProviderLoginRow).where(ProviderLoginRow.digest == digest).returning(ProviderLoginRow)
        return (await self._session.scalars(statement)).first()

    async def prune_logins(self, now: int) -> None:
        await self._session.execute(delete(ProviderLoginRow).where(ProviderLoginRow.expires_at <= now))

    async def use_assertion(self, digest: bytes, expires_at: int) -> bool:
        """Whether this is the first use."""
        insert = self._insert(AssertionRow).values(digest=digest, expires_at=expires_at).on_conflict_do_nothing()
        return await self._touched(insert.returning(AssertionRow.digest))

    async def count_assertions(self) -> int:
        return int((await self._session.execute(select(func.count()).select_from(AssertionRow))).scalar_one())

    async def prune_assertions(self, now: int) -> None:
        await self._session.execute(delete(AssertionRow).where(AssertionRow.expires_at <= now))
