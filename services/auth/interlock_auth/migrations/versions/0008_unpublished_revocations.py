"""Revocations that the bucket does not have yet are found without reading all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NAME = "ix_revocations_unpublished"


def upgrade() -> None:
    missing = sa.text("revision IS NULL")
    op.create_index(_NAME, "revocations", ["token_id"], sqlite_where=missing, postgresql_where=missing)


def downgrade() -> None:
    op.drop_index(_NAME, "revocations")
