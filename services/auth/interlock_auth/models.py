"""The tables of auth. Times are seconds since the epoch; lists and scopes are JSON text."""

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from interlock_common.database import new_metadata

NEVER = 2**53 - 1
"""An expiry that never comes; it stays exact in JSON."""


class Base(DeclarativeBase):
    metadata = new_metadata()


class PrincipalRow(Base):
    """A person or a service account; ``password_hash`` is Argon2id in PHC form, or absent.

    ``teams``, ``permissions`` and ``team_permissions`` are what memberships and roles come to, as it is published:
    ``version`` counts changes, ``published_version`` is the last one that the bucket took. A deleted principal stays
    as a name that nobody gets again: tokens and records speak of it.
    """

    __tablename__ = "principals"

    name: Mapped[str] = mapped_column(String(320), primary_key=True)
    password_hash: Mapped[str | None] = mapped_column(String(256))
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    is_admin: Mapped[bool] = mapped_column(Boolean, default=False)
    teams: Mapped[str] = mapped_column(Text, default="[]")
    permissions: Mapped[str] = mapped_column(Text, default="[]")
    created_at: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(16), default="person")
    full_name: Mapped[str] = mapped_column(String(200), default="")
    must_change_password: Mapped[bool] = mapped_column(Boolean, default=False)
    team_permissions: Mapped[str] = mapped_column(Text, default="{}")
    deleted_at: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger, default=1)
    published_version: Mapped[int] = mapped_column(BigInteger, default=0)


class TeamRow(Base):
    """A team."""

    __tablename__ = "teams"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    created_by: Mapped[str] = mapped_column(String(320))
    created_at: Mapped[int] = mapped_column(BigInteger)


class MembershipRow(Base):
    """Someone in a team."""

    __tablename__ = "memberships"

    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True)
    principal: Mapped[str] = mapped_column(String(320), primary_key=True, index=True)
    owner: Mapped[bool] = mapped_column(Boolean, default=False)
    joined_at: Mapped[int] = mapped_column(BigInteger)


class InvitationRow(Base):
    """An invitation that waits: the SHA-256 of its token; gone once it is accepted or withdrawn."""

    __tablename__ = "invitations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id", ondelete="CASCADE"), index=True)
    email: Mapped[str] = mapped_column(String(254))
    owner: Mapped[bool] = mapped_column(Boolean, default=False)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    invited_by: Mapped[str] = mapped_column(String(320))
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)


class RoleRow(Base):
    """A role that administrators made; the built-in ones are in code."""

    __tablename__ = "roles"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    description: Mapped[str] = mapped_column(Text, default="")
    permissions: Mapped[str] = mapped_column(Text, default="[]")
    created_at: Mapped[int] = mapped_column(BigInteger)


class AssignmentRow(Base):
    """A role that someone has; ``team_id`` is empty for the whole platform.

    Being a platform administrator is no row here but ``principals.is_admin``.
    """

    __tablename__ = "role_assignments"

    principal: Mapped[str] = mapped_column(String(320), primary_key=True)
    role: Mapped[str] = mapped_column(String(100), primary_key=True, index=True)
    team_id: Mapped[str] = mapped_column(String(36), primary_key=True, default="")
    granted_by: Mapped[str] = mapped_column(String(320))
    granted_at: Mapped[int] = mapped_column(BigInteger)


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
    """A token that was minted: its SHA-256 and what it may do, never the token.

    ``scopes`` are those it has now; where they were ``narrowed``, ``narrowed_revision`` is their sequence in the
    bucket, absent until they are published. ``used_in_hour`` is of the hour ``used_hour``, counted from the epoch.
    """

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
    description: Mapped[str] = mapped_column(Text, default="")
    narrowed: Mapped[bool] = mapped_column(Boolean, default=False)
    narrowed_revision: Mapped[int | None] = mapped_column(BigInteger)
    last_used_at: Mapped[int] = mapped_column(BigInteger, default=0)
    used_total: Mapped[int] = mapped_column(BigInteger, default=0)
    used_hour: Mapped[int] = mapped_column(BigInteger, default=0)
    used_in_hour: Mapped[int] = mapped_column(BigInteger, default=0)


class TokenUseRow(Base):
    """Requests with a token on one day of UTC, counted from the epoch."""

    __tablename__ = "token_uses"

    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class RevocationRow(Base):
    """A revoked token; ``revision`` is its sequence in the bucket, absent until it is published."""

    __tablename__ = "revocations"
    __table_args__ = (  # what is missing in the bucket is looked for all the time, among a million
        Index(
            "ix_revocations_unpublished", "token_id",
            sqlite_where=text("revision IS NULL"), postgresql_where=text("revision IS NULL"),
        ),
    )  # fmt: skip

    token_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    revoked_at: Mapped[int] = mapped_column(BigInteger)
    revoked_by: Mapped[str] = mapped_column(String(320))
    reason: Mapped[str] = mapped_column(Text, default="")
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    revision: Mapped[int | None] = mapped_column(BigInteger)


class SelectorRow(Base):
    """Tokens that do not count by what they have in common: those issued before ``before``.

    ``kind`` and ``subject`` say whose; ``expires_at`` is when the last of them has ended.
    """

    __tablename__ = "selectors"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(String(320), primary_key=True)
    before: Mapped[int] = mapped_column(BigInteger)
    revoked_at: Mapped[int] = mapped_column(BigInteger)
    revoked_by: Mapped[str] = mapped_column(String(320))
    reason: Mapped[str] = mapped_column(Text, default="")
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    revision: Mapped[int | None] = mapped_column(BigInteger)
