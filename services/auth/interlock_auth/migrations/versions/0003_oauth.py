"""The authorization server: clients, sessions of browsers, grants, codes, refresh and access tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "oauth_clients",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(32), nullable=True),
        sa.Column("auth_method", sa.String(32), nullable=False),
        sa.Column("redirect_uris", sa.Text(), nullable=False),
        sa.Column("grant_types", sa.Text(), nullable=False),
        sa.Column("registered_by", sa.String(320), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_oauth_clients"),
    )
    op.create_table(
        "oauth_sessions",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("principal", sa.String(320), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_oauth_sessions"),
    )
    op.create_table(
        "oauth_grants",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.String(2048), nullable=False),
        sa.Column("client_name", sa.String(200), nullable=False),
        sa.Column("principal", sa.String(320), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("resource", sa.String(2048), nullable=False),
        sa.Column("server_id", sa.String(128), nullable=True),
        sa.Column("refreshable", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("token_id", sa.String(36), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_oauth_grants"),
    )
    _of_grants("oauth_codes", sa.Column("digest", sa.LargeBinary(32), nullable=False),
               sa.Column("redirect_uri", sa.String(2048), nullable=False),
               sa.Column("challenge", sa.String(128), nullable=False),
               sa.Column("used_at", sa.BigInteger(), nullable=True))  # fmt: skip
    _of_grants("oauth_refresh_tokens", sa.Column("digest", sa.LargeBinary(32), nullable=False),
               sa.Column("used_at", sa.BigInteger(), nullable=True))  # fmt: skip
    _of_grants("oauth_access_tokens", sa.Column("token_id", sa.String(36), nullable=False))
    for table, column in _INDEXED:
        op.create_index(f"ix_{table}_{column}", table, [column])


_INDEXED = (
    ("oauth_clients", "created_at"),
    ("oauth_sessions", "principal"), ("oauth_sessions", "created_at"), ("oauth_sessions", "seen_at"),
    ("oauth_grants", "client_id"), ("oauth_grants", "principal"), ("oauth_grants", "expires_at"),
    ("oauth_codes", "grant_id"), ("oauth_refresh_tokens", "grant_id"), ("oauth_access_tokens", "grant_id"),
)  # fmt: skip


def _of_grants(table: str, key: sa.Column[object], *columns: sa.Column[object]) -> None:
    op.create_table(
        table,
        key,
        sa.Column("grant_id", sa.String(36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint(key.name, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["oauth_grants.id"], name=f"fk_{table}_grant_id_oauth_grants", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    for table in (
        "oauth_access_tokens", "oauth_refresh_tokens", "oauth_codes", "oauth_grants", "oauth_sessions", "oauth_clients",
    ):  # fmt: skip
        op.drop_table(table)
