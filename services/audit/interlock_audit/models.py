"""The tables of audit. Moments of records are milliseconds since the epoch, those of leases seconds."""

from sqlalchemy import BigInteger, Float, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from interlock_common.database import new_metadata


class Base(DeclarativeBase):
    metadata = new_metadata()


class RecordRow(Base):
    """A leaf of the tree. ``leaf`` is the truth; the columns beside it only find it.

    ``principal``, ``method`` and ``tool`` of an outcome are those of its intent. ``author`` and
    ``author_batch`` are empty for what the audit service wrote itself.
    """

    __tablename__ = "records"
    __table_args__ = (
        Index("ix_records_id", "id"),
        Index("ix_records_principal", "principal", "tree_index"),
        Index("ix_records_kind", "kind", "tree_index"),
        Index("ix_records_trace_id", "trace_id", "tree_index"),
        Index("ix_records_author", "author", "author_batch"),
    )

    tree_index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(32))
    service: Mapped[str] = mapped_column(String(64))
    principal: Mapped[str] = mapped_column(String(320))
    method: Mapped[str] = mapped_column(String(128))
    tool: Mapped[str] = mapped_column(String(256))
    trace_id: Mapped[str] = mapped_column(String(32))
    at: Mapped[int] = mapped_column(BigInteger)
    stream_sequence: Mapped[int] = mapped_column(BigInteger)
    author: Mapped[str] = mapped_column(String(128))
    author_batch: Mapped[int] = mapped_column(BigInteger)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class NodeRow(Base):
    """A hash of a tile above level 0: the root of a full tile of the level below."""

    __tablename__ = "nodes"

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class PositionRow(Base):
    """One row: how far the stream is in the tree. ``stream_created`` tells a stream from its successor."""

    __tablename__ = "position"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tree_size: Mapped[int] = mapped_column(BigInteger)
    stream_sequence: Mapped[int] = mapped_column(BigInteger)
    stream_created: Mapped[str] = mapped_column(String(40))


class AuthorRow(Base):
    """The highest batch number seen of each author."""

    __tablename__ = "authors"

    author: Mapped[str] = mapped_column(String(128), primary_key=True)
    last_batch: Mapped[int] = mapped_column(BigInteger)


class CheckpointRow(Base):
    """A tree head that was signed; ``note`` and ``verifier_key`` as they are shown."""

    __tablename__ = "checkpoints"

    tree_size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(BigInteger)
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[str] = mapped_column(Text)
    verifier_key: Mapped[str] = mapped_column(Text)


class LeaseRow(Base):
    """Who may write, until when; ``epoch`` counts the changes of hands."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    epoch: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[float] = mapped_column(Float(53))
