"""The table of how principals come in, and its queries."""

from sqlalchemy import BigInteger, Integer, String, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from interlock_auth.models import Base
from interlock_auth.store import Store
from interlock_common.messages.credential_uses import CredentialUse

DAY = 86400


class CredentialUseRow(Base):
    """Requests of a principal with one kind of credential on one day of UTC, counted from the epoch."""

    __tablename__ = "credential_uses"

    principal: Mapped[str] = mapped_column(String(320), primary_key=True)
    credential: Mapped[str] = mapped_column(String(16), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True, index=True)
    count: Mapped[int] = mapped_column(BigInteger)
    last_at: Mapped[int] = mapped_column(BigInteger)


class CredentialStore(Store):
    """Queries about the use of credentials."""

    async def count(self, use: CredentialUse, at: int) -> None:
        insert = self._insert(CredentialUseRow).values(
            principal=use.principal, credential=use.credential, day=at // DAY, count=use.count, last_at=at
        )
        key = [CredentialUseRow.principal, CredentialUseRow.credential, CredentialUseRow.day]
        total = CredentialUseRow.count + insert.excluded.count
        again = insert.on_conflict_do_update(
            index_elements=key, set_={"count": total, "last_at": insert.excluded.last_at}
        )
        await self._session.execute(again)

    async def since(self, day: int) -> list[tuple[str, str, int, int]]:
        """Principal, credential, requests and the last of them, from ``day`` on."""
        row = CredentialUseRow
        query = (
            select(row.principal, row.credential, func.sum(row.count), func.max(row.last_at))
            .where(row.day >= day)
            .group_by(row.principal, row.credential)
        )
        found = await self._session.execute(query)
        return [(principal, credential, int(count), last) for principal, credential, count, last in found]

    async def forget(self, before: int) -> None:
        await self._session.execute(delete(CredentialUseRow).where(CredentialUseRow.day < before))
