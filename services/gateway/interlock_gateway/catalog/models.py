"""The tables of the catalog. Times are milliseconds since the epoch."""

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Integer, LargeBinary, String, Text, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from interlock_common.database import new_metadata


class Base(DeclarativeBase):
    metadata = new_metadata()


class UpstreamRow(Base):
    """Something behind the gateway, as it was registered and as it was found.

    ``wanted_era`` is set when its registration fixed the era; ``protocol_version`` is empty until it was found for
    the first time. ``due_at`` is when it is looked at next, ``failures`` how many looks failed since the last that
    did not. ``listens`` says that it announces changes of what it offers.
    """

    __tablename__ = "upstreams"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    url: Mapped[str] = mapped_column(String(2048))
    transport: Mapped[str] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Text)
    wanted_era: Mapped[str | None] = mapped_column(String(16))
    era: Mapped[str] = mapped_column(String(16))
    protocol_version: Mapped[str] = mapped_column(String(32))
    capabilities: Mapped[str] = mapped_column(Text)
    instructions: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(String(320))
    visibility: Mapped[str] = mapped_column(String(16))
    team: Mapped[str | None] = mapped_column(String(200))
    credential: Mapped[dict[str, Any]] = mapped_column(JSON)
    tls: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    command: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    rest: Mapped[dict[str, Any]] = mapped_column(JSON)
    limits: Mapped[dict[str, Any]] = mapped_column(JSON)
    reachable: Mapped[bool] = mapped_column(Boolean)
    problem: Mapped[str] = mapped_column(Text)
    failures: Mapped[int] = mapped_column(Integer)
    listens: Mapped[bool] = mapped_column(Boolean)
    refreshed_at: Mapped[int] = mapped_column(BigInteger)
    due_at: Mapped[int] = mapped_column(BigInteger, index=True)
    definitions: Mapped[list["DefinitionRow"]] = relationship(
        lazy="raise", order_by="DefinitionRow.position", cascade="all, delete-orphan", passive_deletes=True
    )


class DefinitionRow(Base):
    """A tool, resource, template or prompt; ``definition`` is the JSON as it came over the wire, never re-encoded.

    ``accepted`` is the version that was accepted, where it is another than the present one. ``gone`` is when the
    upstream was found not to have it any more.
    """

    __tablename__ = "upstream_definitions"

    upstream_id: Mapped[str] = mapped_column(ForeignKey("upstreams.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(2048), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    definition: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[str] = mapped_column(String(80))
    standing: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    accepted_digest: Mapped[str] = mapped_column(String(80))
    accepted: Mapped[bytes | None] = mapped_column(LargeBinary)
    gone: Mapped[int | None] = mapped_column(BigInteger)


class ServerRow(Base):
    """A virtual server; ``tools``, ``resources``, … are the references of the contract, in order."""

    __tablename__ = "virtual_servers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    owner: Mapped[str] = mapped_column(String(320))
    tools: Mapped[list[str]] = mapped_column(JSON)
    resources: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    templates: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    prompts: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    upstreams: Mapped[list[str]] = mapped_column(JSON)
    prefix: Mapped[str] = mapped_column(String(16))
    aliases: Mapped[dict[str, str]] = mapped_column(JSON, server_default="{}")
    instructions: Mapped[str] = mapped_column(Text, default="", server_default="")
    resource: Mapped[str] = mapped_column(String(2048), default="", server_default="")
    api_key_only: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    visibility: Mapped[str] = mapped_column(String(16))
    team: Mapped[str | None] = mapped_column(String(200))


class GrantRow(Base):
    """What an authorization server granted ``principal`` for an upstream; ``sealed`` opens only where it is used.

    ``generation`` grows with each version. Until ``claimed_until`` nobody but ``claimed_by`` is to refresh it.
    ``granted_at`` and ``expires_at`` are seconds since the epoch, as contracts have them.
    """

    __tablename__ = "grants"

    upstream_id: Mapped[str] = mapped_column(ForeignKey("upstreams.id", ondelete="CASCADE"), primary_key=True)
    principal: Mapped[str] = mapped_column(String(320), primary_key=True)
    sealed: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    granted_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    generation: Mapped[int] = mapped_column(BigInteger)
    claimed_by: Mapped[str] = mapped_column(String(64))
    claimed_until: Mapped[int] = mapped_column(BigInteger)
