"""By which credentials principals come in."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "credential_uses",
        sa.Column("principal", sa.String(320), nullable=False),
        sa.Column("credential", sa.String(16), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "credential", "day", name="pk_credential_uses"),
    )
    op.create_index("ix_credential_uses_day", "credential_uses", ["day"])


def downgrade() -> None:
    op.drop_table("credential_uses")
