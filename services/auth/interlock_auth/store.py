"""All SQL of auth. Whoever calls owns the transaction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, case, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_auth.models import LoginFailureRow, PrincipalRow, RevocationRow, SelectorRow, SigningKeyRow, TokenRow


@dataclass(frozen=True)
class Holder:
    """A principal, a token and whether it is revoked, until when all of the principal's are, and another token."""

    principal: PrincipalRow
    token: TokenRow | None
    revoked: bool
    revoked_before: int
    other: TokenRow | None


class Store:
    """The tables of auth, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # principals

    async def principal(self, name: str) -> PrincipalRow | None:
        return await self._session.get(PrincipalRow, name)

    async def holder(self, name: str, token_id: str | None, other: str | None = None) -> Holder | None:
        """A principal, a token of anybody's, and another one, all in one question."""
        ids = [each for each in (token_id, other) if each is not None]
        moment = select(func.max(SelectorRow.before)).where(
            tuple_(SelectorRow.kind, SelectorRow.subject).in_([("all", ""), ("user", name)])
        )
        query = (
            select(PrincipalRow, TokenRow, RevocationRow.token_id.is_not(None), moment.scalar_subquery())
            .select_from(PrincipalRow)
            .outerjoin(TokenRow, TokenRow.id.in_(ids))
            .outerjoin(RevocationRow, RevocationRow.token_id == TokenRow.id)
            .where(PrincipalRow.name == name)
        )
        found: Any = (await self._session.execute(query)).all()
        if not found:
            return None
        tokens = {token.id: (token, revoked) for _, token, revoked, _ in found if token is not None}
        token, revoked = tokens.get(token_id or "", (None, False))
        return Holder(found[0][0], token, revoked, found[0][3] or 0, tokens.get(other or "", (None,))[0])

    async def principals(self) -> Sequence[PrincipalRow]:
        return (await self._session.scalars(select(PrincipalRow).order_by(PrincipalRow.name))).all()

    async def add_principal(self, row: PrincipalRow) -> bool:
        """Whether the principal is new; an existing one is left as it is, also when two replicas race."""
        given = {column.key: getattr(row, column.key) for column in PrincipalRow.__table__.columns}
        values = {key: value for key, value in given.items() if value is not None}  # the rest has defaults
        statement = self._insert(PrincipalRow).values(**values).on_conflict_do_nothing()
        added = await self._session.execute(statement.returning(PrincipalRow.name))
        return added.scalar_one_or_none() is not None

    async def set_password_hash(self, name: str, password_hash: str) -> None:
        statement = update(PrincipalRow).where(PrincipalRow.name == name).values(password_hash=password_hash)
        await self._session.execute(statement)

    # failed logins

    async def count_attempt(self, email: str, now: int, window: int) -> int:
        """Count an attempt before it is verified, so that parallel guesses all count; answers how many there are.

        Attempts whose last one is ``window`` seconds ago no longer count.
        """
        subject = _subject(email)
        insert = self._insert(LoginFailureRow).values(subject=subject, failures=1, last_at=now)
        again = case((LoginFailureRow.last_at <= now - window, 1), else_=LoginFailureRow.failures + 1)
        statement = insert.on_conflict_do_update(
            index_elements=[LoginFailureRow.subject], set_={"failures": again, "last_at": now}
        )
        counted = await self._session.execute(statement.returning(LoginFailureRow.failures))
        return int(counted.scalar_one())

    async def failures(self, email: str) -> LoginFailureRow | None:
        return await self._session.get(LoginFailureRow, _subject(email))

    async def forget_failures(self, email: str) -> None:
        await self._session.execute(delete(LoginFailureRow).where(LoginFailureRow.subject == _subject(email)))

    async def prune_failures(self, before: int) -> None:
        await self._session.execute(delete(LoginFailureRow).where(LoginFailureRow.last_at < before))

    # signing keys

    async def signing_keys(self) -> Sequence[SigningKeyRow]:
        """All published keys, youngest first."""
        order = (SigningKeyRow.not_before.desc(), SigningKeyRow.kid)
        return (await self._session.scalars(select(SigningKeyRow).order_by(*order))).all()

    async def add_signing_key(self, row: SigningKeyRow) -> None:
        self._session.add(row)
        await self._session.flush()

    async def extend_signed_until(self, kid: str, expires_at: int) -> bool:
        """Remember that ``kid`` signs until ``expires_at``; whether the key was still there to sign."""
        longer = case((SigningKeyRow.signed_until < expires_at, expires_at), else_=SigningKeyRow.signed_until)
        statement = update(SigningKeyRow).where(SigningKeyRow.kid == kid).values(signed_until=longer)
        return await self._touched(statement.returning(SigningKeyRow.kid))

    async def remove_signing_key(self, kid: str, unused_since: int) -> bool:
        """Whether the key is gone; it stays when a token it signed meanwhile lives longer."""
        condition = (SigningKeyRow.kid == kid, SigningKeyRow.signed_until < unused_since)
        return await self._touched(delete(SigningKeyRow).where(*condition).returning(SigningKeyRow.kid))

    # tokens

    async def add_token(self, row: TokenRow) -> None:
        self._session.add(row)
        await self._session.flush()

    async def token(self, token_id: str) -> TokenRow | None:
        return await self._session.get(TokenRow, token_id)

    async def prune_tokens(self, expired_before: int) -> None:
        await self._session.execute(delete(TokenRow).where(TokenRow.expires_at < expired_before))

    # revocations

    async def revocation(self, token_id: str) -> RevocationRow | None:
        return await self._session.get(RevocationRow, token_id)

    async def add_revocation(self, row: RevocationRow) -> bool:
        """Whether the token was not revoked before; the first revocation of a token stands."""
        values = {column.key: getattr(row, column.key) for column in RevocationRow.__table__.columns}
        statement = self._insert(RevocationRow).values(**values).on_conflict_do_nothing()
        return await self._touched(statement.returning(RevocationRow.token_id))

    async def set_revisions(self, published: Sequence[tuple[RevocationRow, int]]) -> None:
        """Remember where in the bucket revocations are."""
        statement = update(RevocationRow).where(RevocationRow.token_id == bindparam("token"))
        values = [{"token": row.token_id, "revision": revision} for row, revision in published]
        connection = await self._session.connection()
        await connection.execute(statement.values(revision=bindparam("revision")), values)

    async def live_revocations(
        self, now: int, *, unpublished_only: bool, after: str, limit: int
    ) -> list[tuple[str, int | None]]:
        """Ids of revoked tokens that live, after an id, in order, with where in the bucket they were put."""
        query = select(RevocationRow.token_id, RevocationRow.revision).where(
            RevocationRow.expires_at >= now, RevocationRow.token_id > after
        )
        if unpublished_only:
            query = query.where(RevocationRow.revision.is_(None))
        found = await self._session.execute(query.order_by(RevocationRow.token_id).limit(limit))
        return [(token_id, revision) for token_id, revision in found]

    async def revocations(self, ids: Sequence[str]) -> Sequence[RevocationRow]:
        return (await self._session.scalars(select(RevocationRow).where(RevocationRow.token_id.in_(ids)))).all()

    async def covered(self, subjects: Sequence[tuple[str, str]], issued_at: int) -> bool:
        """Whether all tokens of one of ``subjects``, each a kind and a name, were revoked after ``issued_at``."""
        names = tuple_(SelectorRow.kind, SelectorRow.subject).in_(subjects)
        query = select(SelectorRow.kind).where(names, SelectorRow.before > issued_at).limit(1)
        return (await self._session.execute(query)).first() is not None

    async def prune_revocations(self, expired_before: int) -> None:
        await self._session.execute(delete(RevocationRow).where(RevocationRow.expires_at < expired_before))

    async def _touched(self, statement: Any) -> bool:
        return (await self._session.execute(statement)).first() is not None

    def _insert(self, table: type[Any]) -> Any:
        """An INSERT that knows ON CONFLICT, which each dialect spells in a construct of its own."""
        dialect = self._session.get_bind().dialect.name
        return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _subject(email: str) -> bytes:
    return hashlib.sha256(email.encode()).digest()
