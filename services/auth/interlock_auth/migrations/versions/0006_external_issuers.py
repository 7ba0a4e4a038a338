"""Authorization servers of others, their users, and what must not count twice: logins under way, client assertions."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("oauth_clients", sa.Column("jwks", sa.Text(), nullable=True))
    op.create_table(
        "external_issuers",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("issuer", sa.String(512), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=True),
        sa.Column("from_file", sa.Boolean(), nullable=False),
        sa.Column("endpoints", sa.Text(), nullable=False),
        sa.Column("keys", sa.Text(), nullable=False),
        sa.Column("keys_read_at", sa.BigInteger(), nullable=False),
        sa.Column("tried_at", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(500), nullable=False),
        sa.Column("published", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_external_issuers"),
        sa.UniqueConstraint("issuer", name="uq_external_issuers_issuer"),
    )
    op.create_table(
        "external_identities",
        sa.Column("issuer", sa.String(512), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("principal", sa.String(320), nullable=False),
        sa.Column("linked_by", sa.String(320), nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_external_identities"),
    )
    op.create_index("ix_external_identities_principal", "external_identities", ["principal"])
    op.create_table(
        "provider_logins",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("browser", sa.LargeBinary(32), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("verifier", sa.String(128), nullable=False),
        sa.Column("callback", sa.String(2048), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_provider_logins"),
    )
    op.create_index("ix_provider_logins_expires_at", "provider_logins", ["expires_at"])
    op.create_table(
        "client_assertions",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_client_assertions"),
    )
    op.create_index("ix_client_assertions_expires_at", "client_assertions", ["expires_at"])


def downgrade() -> None:
    for table in ("client_assertions", "provider_logins", "external_identities", "external_issuers"):
        op.drop_table(table)
    with op.batch_alter_table("oauth_clients") as clients:
        clients.drop_column("jwks")
