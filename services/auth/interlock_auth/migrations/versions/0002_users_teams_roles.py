"""Users, service accounts, teams, invitations, roles and who has them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _new_columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("kind", sa.String(16), nullable=False, server_default="person"),
        sa.Column("full_name", sa.String(200), nullable=False, server_default=""),
        sa.Column("must_change_password", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("team_permissions", sa.Text(), nullable=False, server_default="{}"),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False, server_default="1"),
        sa.Column("published_version", sa.BigInteger(), nullable=False, server_default="0"),
    )


def upgrade() -> None:
    for column in _new_columns():
        op.add_column("principals", column)
    op.create_table(
        "teams",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(320), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_teams"),
        sa.UniqueConstraint("name", name="uq_teams_name"),
    )
    op.create_table(
        "memberships",
        sa.Column("team_id", sa.String(36), nullable=False),
        sa.Column("principal", sa.String(320), nullable=False),
        sa.Column("owner", sa.Boolean(), nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "principal", name="pk_memberships"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_memberships_team_id_teams", ondelete="CASCADE"),
    )
    op.create_index("ix_memberships_principal", "memberships", ["principal"])
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("team_id", sa.String(36), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("owner", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("invited_by", sa.String(320), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_invitations"),
        sa.UniqueConstraint("digest", name="uq_invitations_digest"),
        sa.ForeignKeyConstraint(["team_id"], ["teams.id"], name="fk_invitations_team_id_teams", ondelete="CASCADE"),
    )
    op.create_index("ix_invitations_team_id", "invitations", ["team_id"])
    op.create_index("ix_invitations_expires_at", "invitations", ["expires_at"])
    op.create_table(
        "roles",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_roles"),
    )
    op.create_table(
        "role_assignments",
        sa.Column("principal", sa.String(320), nullable=False),
        sa.Column("role", sa.String(100), nullable=False),
        sa.Column("team_id", sa.String(36), nullable=False),
        sa.Column("granted_by", sa.String(320), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "role", "team_id", name="pk_role_assignments"),
    )
    op.create_index("ix_role_assignments_role", "role_assignments", ["role"])


def downgrade() -> None:
    for table in ("role_assignments", "roles", "invitations", "memberships", "teams"):
        op.drop_table(table)
    for column in reversed(_new_columns()):
        op.drop_column("principals", column.name)
