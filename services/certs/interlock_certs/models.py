"""The tables of certs: what was issued, and the join tokens that wait to be used."""

from sqlalchemy import BigInteger, Boolean, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from interlock_common.database import new_metadata


class Base(DeclarativeBase):
    metadata = new_metadata()


class IssuedCertificate(Base):
    """A leaf that was issued; times in seconds since the epoch."""

    __tablename__ = "issued_certificates"

    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    identity: Mapped[str] = mapped_column(String(128), index=True)
    fingerprint: Mapped[str] = mapped_column(String(80))
    not_before: Mapped[int] = mapped_column(BigInteger)
    not_after: Mapped[int] = mapped_column(BigInteger, index=True)
    renewal: Mapped[bool] = mapped_column(Boolean)


class JoinToken(Base):
    """A join token by the SHA-256 of its text; ``used_at`` is set once and for all."""

    __tablename__ = "join_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    identity: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    used_at: Mapped[int | None] = mapped_column(BigInteger)
