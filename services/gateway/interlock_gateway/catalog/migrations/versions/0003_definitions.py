"""Upstreams of every kind, and all that they offer, pinned to what was accepted.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NOTHING = sa.JSON(none_as_null=True)


def upgrade() -> None:
    with op.batch_alter_table("upstreams") as table:
        table.add_column(sa.Column("transport", sa.String(16), nullable=False, server_default="http"))
        table.add_column(sa.Column("capabilities", sa.Text, nullable=False, server_default="{}"))
        table.add_column(sa.Column("instructions", sa.Text, nullable=False, server_default=""))
        for name in ("credential", "rest", "limits"):
            table.add_column(sa.Column(name, sa.JSON, nullable=False, server_default="{}"))
        for name in ("tls", "command"):
            table.add_column(sa.Column(name, _NOTHING))
        table.add_column(sa.Column("failures", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("listens", sa.Boolean, nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("due_at", sa.BigInteger, nullable=False, server_default="0"))
        table.drop_index("ix_upstreams_refreshed_at")
        table.create_index("ix_upstreams_due_at", ["due_at"])
    op.create_table(
        "upstream_definitions",
        sa.Column("upstream_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(2048), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("definition", sa.LargeBinary, nullable=False),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.Column("standing", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("accepted_digest", sa.String(80), nullable=False),
        sa.Column("accepted", sa.LargeBinary),
        sa.Column("gone", sa.BigInteger),
        sa.PrimaryKeyConstraint("upstream_id", "kind", "name", name="pk_upstream_definitions"),
        sa.ForeignKeyConstraint(
            ["upstream_id"],
            ["upstreams.id"],
            name="fk_upstream_definitions_upstream_id_upstreams",
            ondelete="CASCADE",
        ),
    )
    # What was offered until now counts as accepted.
    op.execute(
        "INSERT INTO upstream_definitions"
        " (upstream_id, kind, name, position, definition, digest, standing, reason, accepted_digest)"
        " SELECT upstream_id, 'tool', name, position, definition, digest, 'accepted', '', digest FROM upstream_tools"
    )
    op.drop_table("upstream_tools")


def downgrade() -> None:
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
    op.execute(
        "INSERT INTO upstream_tools (upstream_id, name, position, definition, digest)"
        " SELECT upstream_id, name, position, definition, digest FROM upstream_definitions"
        " WHERE kind = 'tool' AND gone IS NULL AND standing <> 'quarantined'"
    )
    op.drop_table("upstream_definitions")
    with op.batch_alter_table("upstreams") as table:
        table.drop_index("ix_upstreams_due_at")
        table.create_index("ix_upstreams_refreshed_at", ["refreshed_at"])
        for name in (
            "due_at", "listens", "failures", "command", "tls", "limits", "rest", "credential", "instructions",
            "capabilities", "transport",
        ):  # fmt: skip
            table.drop_column(name)
