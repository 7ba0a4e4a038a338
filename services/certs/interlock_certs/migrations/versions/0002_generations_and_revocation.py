"""generations of the CA, revocation, confirmations of the trust bundle"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("issued_certificates") as table:
        table.add_column(sa.Column("issuer", sa.String(64), nullable=False, server_default=""))
        table.add_column(sa.Column("public_key", sa.String(64), nullable=False, server_default=""))
        table.add_column(sa.Column("revoked_at", sa.BigInteger, nullable=True))
        table.add_column(sa.Column("reason", sa.String(32), nullable=True))
    op.create_index("ix_issued_certificates_fingerprint", "issued_certificates", ["fingerprint"])
    op.create_table(
        "ca_generations",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "foreign_revocations",
        sa.Column("issuer", sa.String(64), primary_key=True),
        sa.Column("serial", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(256), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "revoked_identities",
        sa.Column("identity", sa.String(128), primary_key=True),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "confirmations",
        sa.Column("identity", sa.String(128), primary_key=True),
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("bundle", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in ("counters", "confirmations", "revoked_identities", "foreign_revocations", "ca_generations"):
        op.drop_table(table)
    op.drop_index("ix_issued_certificates_fingerprint", "issued_certificates")
    with op.batch_alter_table("issued_certificates") as table:
        for column in ("reason", "revoked_at", "public_key", "issuer"):
            table.drop_column(column)
