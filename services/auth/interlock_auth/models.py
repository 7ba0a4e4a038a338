"""The tables of auth. Times are seconds since the epoch; lists and scopes are JSON text."""

from sqlalchemy import BigInteger, Boolean, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from interlock_common.database import new_metadata

NEVER = 2**53 - 1
"""An expiry that never comes; it stays exact in JSON."""


class Base(DeclarativeBase):
    metadata = new_metadata()


class PrincipalRow(Base):
    """A person or a service account; ``password_hash`` is Argon2id in PHC form, or absent."""

    __tablename__ = "principals"

    name: Mapped[str] = mapped_column(String(320), primary_key=True)
    password_hash: Mapped[str | None] = mapped_column(String(256))
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    is_admin: Mapped[bool] = mapped_column(Boolean, default=False)
    teams: Mapped[str] = mapped_column(Text, default="[]")
    permissions: Mapped[str] = mapped_column(Text, default="[]")
    created_at: Mapped[int] = mapped_column(BigInteger)


class LoginFailureRow(Base):
    """Failed logins in a row, by SHA-256 of the e-mail: unknown e-mails are counted like known ones."""

    __tablename__ = "login_failures"

    subject: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[int] = mapped_column(BigInteger, index=True)


class SigningKeyRow(Base):
    """A key that signs, will sign or has signed; the private half is never here.

    It signs from ``not_before`` until a younger one does, and stays published until ``signed_until``, the
    latest expiry of any token it signed.
    """

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    algorithm: Mapped[str] = mapped_column(String(8))
    jwk: Mapped[str] = mapped_column(Text)
    not_before: Mapped[int] = mapped_column(BigInteger)
    signed_until: Mapped[int] = mapped_column(BigInteger, default=0)


class TokenRow(Base):
    """A token that was minted: its SHA-256 and what it may do, never the token."""

    __tablename__ = "tokens"
    __table_args__ = (Index("ix_tokens_listing", "principal", "created_at", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    principal: Mapped[str] = mapped_column(String(320))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    kid: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[str] = mapped_column(Text)
    teams: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class RevocationRow(Base):
    """A revoked token; ``revision`` is its sequence in the bucket, absent until it is published."""

    __tablename__ = "revocations"

    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    revoked_at: Mapped[int] = mapped_column(BigInteger)
    revoked_by: Mapped[str] = mapped_column(String(320))
    reason: Mapped[str] = mapped_column(Text, default="")
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    revision: Mapped[int | None] = mapped_column(BigInteger)
