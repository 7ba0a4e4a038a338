"""All SQL of certs."""

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_certs.authority import Leaf
from interlock_certs.models import IssuedCertificate, JoinToken


async def add_leaf(session: AsyncSession, leaf: Leaf, *, renewal: bool) -> None:
    session.add(
        IssuedCertificate(
            serial=leaf.serial,
            identity=leaf.identity,
            fingerprint=leaf.fingerprint,
            not_before=int(leaf.not_before.timestamp()),
            not_after=int(leaf.not_after.timestamp()),
            renewal=renewal,
        )
    )


async def live_leaves(session: AsyncSession, now: int, limit: int) -> Sequence[IssuedCertificate]:
    """Leaves that have not ended, newest first."""
    query = (
        select(IssuedCertificate)
        .where(IssuedCertificate.not_after > now)
        .order_by(IssuedCertificate.not_before.desc(), IssuedCertificate.serial)
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def add_join_token(session: AsyncSession, digest: str, identity: str, expires_at: int) -> None:
    session.add(JoinToken(digest=digest, identity=identity, expires_at=expires_at, used_at=None))


async def use_join_token(session: AsyncSession, digest: str, now: int) -> str | None:
    """Use up a token; the one caller to whom it counted learns whose it is."""
    query = (
        update(JoinToken)
        .where(JoinToken.digest == digest, JoinToken.used_at.is_(None), JoinToken.expires_at > now)
        .values(used_at=now)
        .returning(JoinToken.identity)
    )
    return (await session.scalars(query)).one_or_none()


async def forget_join_tokens(session: AsyncSession, before: int) -> None:
    """Drop tokens that ended before a moment, used or not."""
    await session.execute(delete(JoinToken).where(JoinToken.expires_at < before))
