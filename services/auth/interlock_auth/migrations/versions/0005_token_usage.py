"""What tokens are used for, what they are for, and scopes that were narrowed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COUNTERS = ("last_used_at", "used_total", "used_hour", "used_in_hour")


def upgrade() -> None:
    op.add_column("tokens", sa.Column("description", sa.Text(), nullable=False, server_default=""))
    op.add_column("tokens", sa.Column("narrowed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("tokens", sa.Column("narrowed_revision", sa.BigInteger(), nullable=True))
    for name in _COUNTERS:
        op.add_column("tokens", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "token_uses",
        sa.Column("token_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_id", "day", name="pk_token_uses"),
    )


def downgrade() -> None:
    op.drop_table("token_uses")
    with op.batch_alter_table("tokens") as tokens:
        for name in ("description", "narrowed", "narrowed_revision", *_COUNTERS):
            tokens.drop_column(name)
