"""What users granted for upstreams, sealed.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "grants",
        sa.Column("upstream_id", sa.String(64), nullable=False),
        sa.Column("principal", sa.String(320), nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("granted_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("claimed_by", sa.String(64), nullable=False),
        sa.Column("claimed_until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("upstream_id", "principal", name="pk_grants"),
        sa.ForeignKeyConstraint(
            ["upstream_id"], ["upstreams.id"], name="fk_grants_upstream_id_upstreams", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("grants")
