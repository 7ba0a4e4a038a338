"""The tables of the authorization server. Times are seconds since the epoch; lists are JSON text.

What opens something (cookies, codes, refresh tokens, client secrets) is kept as its SHA-256 only.
"""

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from interlock_auth.models import Base


class ClientRow(Base):
    """A client that was registered, by an administrator or (``registered_by`` empty) by itself."""

    __tablename__ = "oauth_clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    secret_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    auth_method: Mapped[str] = mapped_column(String(32))
    redirect_uris: Mapped[str] = mapped_column(Text)
    grant_types: Mapped[str] = mapped_column(Text)
    jwks: Mapped[str | None] = mapped_column(Text)
    registered_by: Mapped[str] = mapped_column(String(320), default="")
    certificate_bound: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)


class BrowserSessionRow(Base):
    """A browser in which a principal logged in; it ends a while after ``seen_at``, or long after ``created_at``."""

    __tablename__ = "oauth_sessions"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    principal: Mapped[str] = mapped_column(String(320), index=True)
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)
    seen_at: Mapped[int] = mapped_column(BigInteger, index=True)


class GrantRow(Base):
    """What a principal let a client do: the family of everything that was issued for it.

    ``token_id`` is the newest access token. No token of a family that has ``ended_at`` is issued any more. Tokens of
    one that is ``certificate_bound`` are bound to a client certificate; ``certificate`` (``x5t#S256``) is the one that
    the refresh token of a public client came with last.
    """

    __tablename__ = "oauth_grants"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(2048), index=True)
    client_name: Mapped[str] = mapped_column(String(200))
    principal: Mapped[str] = mapped_column(String(320), index=True)
    scopes: Mapped[str] = mapped_column(Text)
    resource: Mapped[str] = mapped_column(String(2048))
    server_id: Mapped[str | None] = mapped_column(String(128))
    refreshable: Mapped[bool]
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    token_id: Mapped[str | None] = mapped_column(String(36))
    certificate_bound: Mapped[bool] = mapped_column(default=False)
    certificate: Mapped[str | None] = mapped_column(String(43))


class CodeRow(Base):
    """An authorization code; it stays, used, so that a second use is noticed."""

    __tablename__ = "oauth_codes"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    grant_id: Mapped[str] = mapped_column(ForeignKey("oauth_grants.id", ondelete="CASCADE"), index=True)
    redirect_uri: Mapped[str] = mapped_column(String(2048))
    challenge: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[int] = mapped_column(BigInteger)
    used_at: Mapped[int | None] = mapped_column(BigInteger)


class RefreshRow(Base):
    """A refresh token; it stays, used, so that a second use is noticed."""

    __tablename__ = "oauth_refresh_tokens"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    grant_id: Mapped[str] = mapped_column(ForeignKey("oauth_grants.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    used_at: Mapped[int | None] = mapped_column(BigInteger)


class AccessRow(Base):
    """An access token that was issued for a grant."""

    __tablename__ = "oauth_access_tokens"

    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    grant_id: Mapped[str] = mapped_column(ForeignKey("oauth_grants.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[int] = mapped_column(BigInteger)
