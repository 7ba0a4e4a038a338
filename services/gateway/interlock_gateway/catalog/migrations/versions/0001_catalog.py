"""Upstreams, their tools, virtual servers.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstreams",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("slug", sa.String(40), nullable=False),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("wanted_era", sa.String(16)),
        sa.Column("era", sa.String(16), nullable=False),
        sa.Column("protocol_version", sa.String(32), nullable=False),
        sa.Column("owner", sa.String(320), nullable=False),
        sa.Column("visibility", sa.String(16), nullable=False),
        sa.Column("team", sa.String(200)),
        sa.Column("reachable", sa.Boolean, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("refreshed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_upstreams"),
        sa.UniqueConstraint("name", name="uq_upstreams_name"),
        sa.UniqueConstraint("slug", name="uq_upstreams_slug"),
    )
    op.create_index("ix_upstreams_refreshed_at", "upstreams", ["refreshed_at"])
    op.create_table(
        "upstream_tools",
        sa.Column("upstream_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("definition", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.PrimaryKeyConstraint("upstream_id", "name", name="pk_upstream_tools"),
        sa.ForeignKeyConstraint(
            ["upstream_id"],
            ["upstreams.id"],
            name="fk_upstream_tools_upstream_id_upstreams",
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "virtual_servers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("owner", sa.String(320), nullable=False),
        sa.Column("tools", sa.JSON, nullable=False),
        sa.Column("upstreams", sa.JSON, nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("visibility", sa.String(16), nullable=False),
        sa.Column("team", sa.String(200)),
        sa.PrimaryKeyConstraint("id", name="pk_virtual_servers"),
        sa.UniqueConstraint("name", name="uq_virtual_servers_name"),
    )


def downgrade() -> None:
    op.drop_table("virtual_servers")
    op.drop_table("upstream_tools")
    op.drop_table("upstreams")
