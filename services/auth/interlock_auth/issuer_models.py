"""The tables about authorization servers of others. Times are seconds since the epoch; structures are JSON text."""

from sqlalchemy import BigInteger, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from interlock_auth.models import Base


class IssuerRow(Base):
    """An authorization server: what it is told of, and what it said of itself.

    ``settings`` have no secret, which is sealed beside them. ``published`` is what the bucket has of it, absent until
    it has anything. ``tried_at`` is when its keys were asked for last, ``keys_read_at`` when it answered.
    """

    __tablename__ = "external_issuers"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    issuer: Mapped[str] = mapped_column(String(512), unique=True)
    settings: Mapped[str] = mapped_column(Text)
    sealed_secret: Mapped[str | None] = mapped_column(Text)
    from_file: Mapped[bool] = mapped_column(default=False)
    endpoints: Mapped[str] = mapped_column(Text, default="{}")
    keys: Mapped[str] = mapped_column(Text, default="[]")
    keys_read_at: Mapped[int] = mapped_column(BigInteger, default=0)
    tried_at: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str] = mapped_column(String(500), default="")
    published: Mapped[str | None] = mapped_column(Text)


class IdentityRow(Base):
    """Who a subject of an authorization server is here; ``issuer`` is its identifier, which no name is instead of."""

    __tablename__ = "external_identities"

    issuer: Mapped[str] = mapped_column(String(512), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    principal: Mapped[str] = mapped_column(String(320), index=True)
    linked_by: Mapped[str] = mapped_column(String(320))
    linked_at: Mapped[int] = mapped_column(BigInteger)
    published: Mapped[bool] = mapped_column(default=False)


class ProviderLoginRow(Base):
    """A browser that is at a provider: by the SHA-256 of its state, for one return."""

    __tablename__ = "provider_logins"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(63))
    browser: Mapped[bytes] = mapped_column(LargeBinary(32))
    nonce: Mapped[str] = mapped_column(String(64))
    verifier: Mapped[str] = mapped_column(String(128))
    callback: Mapped[str] = mapped_column(String(2048))
    query: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class AssertionRow(Base):
    """An assertion of a client that was used, by the SHA-256 of the client's id and the assertion's."""

    __tablename__ = "client_assertions"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
