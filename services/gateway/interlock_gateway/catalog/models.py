"""The tables of the catalog. Times are milliseconds since the epoch."""

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Integer, LargeBinary, String, Text, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from interlock_common.database import new_metadata


class Base(DeclarativeBase):
    metadata = new_metadata()


class UpstreamRow(Base):
    """An MCP server behind the gateway; ``wanted_era`` is set when its registration fixed the era."""

    __tablename__ = "upstreams"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    url: Mapped[str] = mapped_column(String(2048))
    description: Mapped[str] = mapped_column(Text, default="")
    wanted_era: Mapped[str | None] = mapped_column(String(16))
    era: Mapped[str] = mapped_column(String(16))
    protocol_version: Mapped[str] = mapped_column(String(32))
    owner: Mapped[str] = mapped_column(String(320))
    visibility: Mapped[str] = mapped_column(String(16))
    team: Mapped[str | None] = mapped_column(String(200))
    reachable: Mapped[bool] = mapped_column(Boolean)
    problem: Mapped[str] = mapped_column(Text, default="")
    refreshed_at: Mapped[int] = mapped_column(BigInteger, index=True)
    tools: Mapped[list["ToolRow"]] = relationship(
        lazy="raise", order_by="ToolRow.position", cascade="all, delete-orphan", passive_deletes=True
    )


class ToolRow(Base):
    """A tool of an upstream; ``definition`` is the JSON as it came over the wire, never re-encoded."""

    __tablename__ = "upstream_tools"

    upstream_id: Mapped[str] = mapped_column(ForeignKey("upstreams.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    definition: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[str] = mapped_column(String(80))


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
