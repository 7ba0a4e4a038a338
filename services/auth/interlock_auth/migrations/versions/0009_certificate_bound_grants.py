"""Clients whose tokens are bound to their certificate, and the grants that follow (RFC 8705, section 3)."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_BOUND = "certificate_bound"


def upgrade() -> None:
    for table in ("oauth_clients", "oauth_grants"):
        op.add_column(table, sa.Column(_BOUND, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("oauth_grants", sa.Column("certificate", sa.String(43), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("oauth_grants") as grants:
        grants.drop_column("certificate")
        grants.drop_column(_BOUND)
    with op.batch_alter_table("oauth_clients") as clients:
        clients.drop_column(_BOUND)
