"""All SQL of the authorization server. Whoever calls owns the transaction."""

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_auth.models import RevocationRow, TokenRow
from interlock_auth.oauth_models import AccessRow, BrowserSessionRow, ClientRow, CodeRow, GrantRow, RefreshRow


def digest_of(secret: str) -> bytes:
    """What is kept of something that opens something; each of those has 256 random bits."""
    return hashlib.sha256(secret.encode()).digest()


class OAuthStore:
    """The tables of the authorization server, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, *rows: ClientRow | BrowserSessionRow | GrantRow | CodeRow | RefreshRow | AccessRow) -> None:
        """Add ``rows`` in their order."""
        for row in rows:
            self._session.add(row)
            await self._session.flush()

    # clients

    async def client(self, client_id: str) -> ClientRow | None:
        return await self._session.get(ClientRow, client_id)

    async def clients(self, limit: int, before: ClientRow | None) -> Sequence[ClientRow]:
        """Clients, newest first."""
        query = select(ClientRow).order_by(ClientRow.created_at.desc(), ClientRow.id.desc()).limit(limit)
        if before is not None:
            query = query.where(tuple_(ClientRow.created_at, ClientRow.id) < tuple_(before.created_at, before.id))
        return (await self._session.scalars(query)).all()

    async def remove_client(self, client_id: str) -> bool:
        return await self._touched(delete(ClientRow).where(ClientRow.id == client_id).returning(ClientRow.id))

    async def count_self_registered(self, since: int = 0) -> int:
        query = select(func.count()).where(ClientRow.registered_by == "", ClientRow.created_at > since)
        return int((await self._session.execute(query)).scalar_one())

    async def prune_unused_clients(self, before: int) -> None:
        """Forget clients that registered themselves before ``before`` and that nobody has granted anything."""
        granted = exists().where(GrantRow.client_id == ClientRow.id)
        old = (ClientRow.registered_by == "", ClientRow.created_at <= before)
        await self._session.execute(
            delete(ClientRow).where(*old, ~granted).execution_options(synchronize_session=False)
        )

    # sessions of browsers

    async def touch_session(self, digest: bytes, now: int, idle: int, lifetime: int) -> tuple[str, int] | None:
        """Whose session it is, and since when, if it still counts; it is seen now."""
        alive = (BrowserSessionRow.seen_at > now - idle, BrowserSessionRow.created_at > now - lifetime)
        statement = update(BrowserSessionRow).where(BrowserSessionRow.digest == digest, *alive).values(seen_at=now)
        returned = statement.returning(BrowserSessionRow.principal, BrowserSessionRow.created_at)
        touched = (await self._session.execute(returned)).first()
        return None if touched is None else (touched[0], touched[1])

    async def end_session(self, digest: bytes) -> str | None:
        """Whose session it was, if there was one."""
        statement = delete(BrowserSessionRow).where(BrowserSessionRow.digest == digest)
        return (await self._session.execute(statement.returning(BrowserSessionRow.principal))).scalar_one_or_none()

    async def prune_sessions(self, now: int, idle: int, lifetime: int) -> None:
        dead = or_(BrowserSessionRow.seen_at <= now - idle, BrowserSessionRow.created_at <= now - lifetime)
        await self._session.execute(delete(BrowserSessionRow).where(dead))

    # grants and what is issued for them

    async def grant(self, grant_id: str) -> GrantRow | None:
        return await self._session.get(GrantRow, grant_id, populate_existing=True)

    async def grants_of_client(self, client_id: str) -> Sequence[GrantRow]:
        query = select(GrantRow).where(GrantRow.client_id == client_id, GrantRow.ended_at.is_(None))
        return (await self._session.scalars(query)).all()

    async def end_grant(self, grant_id: str, now: int) -> Sequence[str]:
        """End a family; answers the ids of its access tokens that still live."""
        ended = update(GrantRow).where(GrantRow.id == grant_id, GrantRow.ended_at.is_(None)).values(ended_at=now)
        await self._session.execute(ended)
        query = select(AccessRow.token_id).where(AccessRow.grant_id == grant_id, AccessRow.expires_at > now)
        return (await self._session.scalars(query)).all()

    async def set_token(self, grant_id: str, token_id: str, certificate: str | None) -> bool:
        """Remember the newest access token of a family, and its certificate; whether the family has not ended."""
        statement = update(GrantRow).where(GrantRow.id == grant_id, GrantRow.ended_at.is_(None))
        newest = statement.values(token_id=token_id, certificate=certificate)
        return await self._touched(newest.returning(GrantRow.id))

    async def code(self, digest: bytes) -> CodeRow | None:
        return await self._session.get(CodeRow, digest, populate_existing=True)

    async def use_code(self, digest: bytes, now: int) -> bool:
        """Whether this is the first use."""
        statement = update(CodeRow).where(CodeRow.digest == digest, CodeRow.used_at.is_(None)).values(used_at=now)
        return await self._touched(statement.returning(CodeRow.digest))

    async def refresh_token(self, digest: bytes) -> RefreshRow | None:
        return await self._session.get(RefreshRow, digest, populate_existing=True)

    async def use_refresh_token(self, digest: bytes, now: int) -> bool:
        """Whether this is the first use."""
        unused = update(RefreshRow).where(RefreshRow.digest == digest, RefreshRow.used_at.is_(None))
        return await self._touched(unused.values(used_at=now).returning(RefreshRow.digest))

    async def access(self, token_id: str) -> tuple[AccessRow, GrantRow] | None:
        query = select(AccessRow, GrantRow).join(GrantRow, GrantRow.id == AccessRow.grant_id)
        found = (await self._session.execute(query.where(AccessRow.token_id == token_id))).first()
        return None if found is None else (found[0], found[1])

    async def token_of(self, digest: bytes) -> TokenRow | None:
        """A token of ours, of whatever origin, by its SHA-256."""
        return (await self._session.scalars(select(TokenRow).where(TokenRow.digest == digest))).first()

    async def is_revoked(self, token_id: str) -> bool:
        return await self._session.get(RevocationRow, token_id) is not None

    async def prune_grants(self, expired_before: int) -> None:
        await self._session.execute(delete(GrantRow).where(GrantRow.expires_at < expired_before))

    async def _touched(self, statement: Any) -> bool:
        return (await self._session.execute(statement)).first() is not None
