"""certificates and join tokens"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "issued_certificates",
        sa.Column("serial", sa.String(64), primary_key=True),
        sa.Column("identity", sa.String(128), nullable=False),
        sa.Column("fingerprint", sa.String(80), nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("renewal", sa.Boolean, nullable=False),
    )
    op.create_index("ix_issued_certificates_identity", "issued_certificates", ["identity"])
    op.create_index("ix_issued_certificates_not_after", "issued_certificates", ["not_after"])
    op.create_table(
        "join_tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("identity", sa.String(128), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=True),
    )
    op.create_index("ix_join_tokens_expires_at", "join_tokens", ["expires_at"])


def downgrade() -> None:
    op.drop_table("join_tokens")
    op.drop_table("issued_certificates")
