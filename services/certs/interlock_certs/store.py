"""All SQL of certs."""

import hashlib
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_certs.authority import Leaf
from interlock_certs.issuers import key_identifier
from interlock_certs.models import (
    CaGenerationRow,
    ConfirmationRow,
    Counter,
    ForeignRevocation,
    IssuedCertificate,
    JoinToken,
    RevokedIdentity,
)


async def add_leaf(session: AsyncSession, leaf: Leaf, *, renewal: bool) -> None:
    session.add(
        IssuedCertificate(
            serial=leaf.serial,
            identity=leaf.identity,
            fingerprint=leaf.fingerprint,
            not_before=int(leaf.not_before.timestamp()),
            not_after=int(leaf.not_after.timestamp()),
            renewal=renewal,
            issuer=key_identifier(leaf.issuer).hex(),
            public_key=public_key_digest(leaf.certificate),
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


async def leaf_of(session: AsyncSession, serial: str) -> IssuedCertificate | None:
    return await session.get(IssuedCertificate, serial)


async def newest_leaves(session: AsyncSession, now: int) -> Sequence[IssuedCertificate]:
    """The leaf of each identity that counts longest, of those that have neither ended nor been revoked."""
    query = (
        select(IssuedCertificate)
        .where(IssuedCertificate.not_after > now, IssuedCertificate.revoked_at.is_(None))
        .order_by(IssuedCertificate.identity, IssuedCertificate.not_after)
    )
    return list({leaf.identity: leaf for leaf in await session.scalars(query)}.values())


async def living_leaves_of(session: AsyncSession, identity: str, now: int) -> Sequence[IssuedCertificate]:
    """The leaves of an identity that have neither ended nor been revoked."""
    query = select(IssuedCertificate).where(
        IssuedCertificate.identity == identity,
        IssuedCertificate.not_after > now,
        IssuedCertificate.revoked_at.is_(None),
    )
    return (await session.scalars(query)).all()


async def issuers_of(session: AsyncSession, fingerprints: Iterable[str]) -> dict[str, str]:
    """The key id of the issuing CA of each leaf that is known, by fingerprint."""
    query = select(IssuedCertificate.fingerprint, IssuedCertificate.issuer).where(
        IssuedCertificate.fingerprint.in_(list(fingerprints))
    )
    return {row.fingerprint: row.issuer for row in await session.execute(query)}


async def pinned_keys(session: AsyncSession, ended_after: int, issuers: Sequence[str]) -> set[str] | None:
    """The public keys of leaves of these issuers that were not revoked and did not end before a moment.

    None when there is a leaf whose key was not noted.
    """
    query = select(IssuedCertificate.issuer, IssuedCertificate.public_key).where(
        IssuedCertificate.not_after > ended_after, IssuedCertificate.revoked_at.is_(None)
    )
    rows = (await session.execute(query)).all()
    if any(not key for _, key in rows):
        return None
    return {key for issuer, key in rows if issuer in issuers}


async def revoked_leaves(session: AsyncSession, issuer: str, ended_after: int) -> Sequence[IssuedCertificate]:
    """The revoked leaves of an issuing CA that had not ended at a moment: what stands in its CRL."""
    query = select(IssuedCertificate).where(
        IssuedCertificate.issuer == issuer,
        IssuedCertificate.not_after > ended_after,
        IssuedCertificate.revoked_at.is_not(None),
    )
    return (await session.scalars(query.order_by(IssuedCertificate.revoked_at, IssuedCertificate.serial))).all()


async def all_revoked(
    session: AsyncSession, now: int
) -> tuple[Sequence[IssuedCertificate], Sequence[ForeignRevocation]]:
    """Everything that is revoked and has not ended, ours and that of other CAs."""
    own = select(IssuedCertificate).where(IssuedCertificate.revoked_at.is_not(None), IssuedCertificate.not_after > now)
    foreign = select(ForeignRevocation).where(
        ForeignRevocation.not_after.is_(None) | (ForeignRevocation.not_after > now)
    )
    return (await session.scalars(own)).all(), (await session.scalars(foreign)).all()


async def add_foreign(session: AsyncSession, revocation: ForeignRevocation) -> None:
    await session.merge(revocation)


async def revoked_identity(session: AsyncSession, identity: str) -> RevokedIdentity | None:
    return await session.get(RevokedIdentity, identity)


async def revoke_identity(session: AsyncSession, identity: str, reason: str, now: int) -> None:
    await session.merge(RevokedIdentity(identity=identity, reason=reason, revoked_at=now))


async def reinstate_identity(session: AsyncSession, identity: str) -> bool:
    """Forget that an identity is revoked; answers whether it was."""
    query = delete(RevokedIdentity).where(RevokedIdentity.identity == identity).returning(RevokedIdentity.identity)
    return (await session.scalars(query)).one_or_none() is not None


async def generations(session: AsyncSession) -> Sequence[CaGenerationRow]:
    """The CAs, oldest first."""
    return (await session.scalars(select(CaGenerationRow).order_by(CaGenerationRow.number))).all()


async def set_generation(session: AsyncSession, number: int, state: str, now: int) -> None:
    await session.merge(CaGenerationRow(number=number, state=state, changed_at=now))


async def count_up(session: AsyncSession, name: str) -> int:
    """The next value of a counter, from 1."""
    counter = await session.get(Counter, name, with_for_update=True)
    if counter is None:
        counter = Counter(name=name, value=0)
        session.add(counter)
    counter.value += 1
    return counter.value


async def counted(session: AsyncSession, name: str) -> int:
    counter = await session.get(Counter, name)
    return 0 if counter is None else counter.value


async def confirm(session: AsyncSession, identity: str, instance: str, bundle: int, now: int) -> None:
    await session.merge(ConfirmationRow(identity=identity, instance=instance, bundle=bundle, at=now))


async def confirmations(session: AsyncSession) -> Sequence[ConfirmationRow]:
    return (await session.scalars(select(ConfirmationRow))).all()


async def forget_confirmations(session: AsyncSession, before: int) -> None:
    """Drop what was confirmed before a moment by instances that are long gone."""
    await session.execute(delete(ConfirmationRow).where(ConfirmationRow.at < before))


def public_key_digest(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER) in hex: what the bus pins."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()
