"""The tables of certs: what was issued, what was revoked, the generations of the CA, join tokens."""

from sqlalchemy import BigInteger, Boolean, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from interlock_common.database import new_metadata


class Base(DeclarativeBase):
    metadata = new_metadata()


class IssuedCertificate(Base):
    """A leaf that was issued; times in seconds since the epoch.

    ``issuer`` is the key id of the issuing CA and ``public_key`` the SHA-256 of the key (DER), both in hex; they are
    empty for leaves of before these columns were there.
    """

    __tablename__ = "issued_certificates"

    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    identity: Mapped[str] = mapped_column(String(128), index=True)
    fingerprint: Mapped[str] = mapped_column(String(80), index=True)
    not_before: Mapped[int] = mapped_column(BigInteger)
    not_after: Mapped[int] = mapped_column(BigInteger, index=True)
    renewal: Mapped[bool] = mapped_column(Boolean)
    issuer: Mapped[str] = mapped_column(String(64), default="", server_default="")
    public_key: Mapped[str] = mapped_column(String(64), default="", server_default="")
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(String(32))


class CaGenerationRow(Base):
    """A root and its issuing CA: their files are in a folder of their own, here is what they are good for."""

    __tablename__ = "ca_generations"

    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    changed_at: Mapped[int] = mapped_column(BigInteger)


class ForeignRevocation(Base):
    """A revoked certificate of another CA."""

    __tablename__ = "foreign_revocations"

    issuer: Mapped[str] = mapped_column(String(64), primary_key=True)
    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(256))
    subject: Mapped[str] = mapped_column(String(256))
    reason: Mapped[str] = mapped_column(String(32))
    revoked_at: Mapped[int] = mapped_column(BigInteger)
    not_after: Mapped[int | None] = mapped_column(BigInteger)


class RevokedIdentity(Base):
    """An identity that gets no leaf until it is reinstated."""

    __tablename__ = "revoked_identities"

    identity: Mapped[str] = mapped_column(String(128), primary_key=True)
    reason: Mapped[str] = mapped_column(String(32))
    revoked_at: Mapped[int] = mapped_column(BigInteger)


class ConfirmationRow(Base):
    """Which generation of the trust bundle an instance said it uses."""

    __tablename__ = "confirmations"

    identity: Mapped[str] = mapped_column(String(128), primary_key=True)
    instance: Mapped[str] = mapped_column(String(64), primary_key=True)
    bundle: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[int] = mapped_column(BigInteger)


class Counter(Base):
    """A number that only grows: ``bundle`` for the trust bundle, ``crl`` for CRLs."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class JoinToken(Base):
    """A join token by the SHA-256 of its text; ``used_at`` is set once and for all."""

    __tablename__ = "join_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    identity: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    used_at: Mapped[int | None] = mapped_column(BigInteger)
