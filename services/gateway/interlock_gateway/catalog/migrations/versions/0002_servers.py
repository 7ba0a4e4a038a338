"""What a virtual server is composed of: resources, templates, prompts, aliases, an identifier of its own.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("virtual_servers") as table:
        for name in ("resources", "templates", "prompts"):
            table.add_column(sa.Column(name, sa.JSON, nullable=False, server_default="[]"))
        table.add_column(sa.Column("aliases", sa.JSON, nullable=False, server_default="{}"))
        table.add_column(sa.Column("instructions", sa.Text, nullable=False, server_default=""))
        table.add_column(sa.Column("resource", sa.String(2048), nullable=False, server_default=""))
        table.add_column(sa.Column("api_key_only", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("virtual_servers") as table:
        for name in ("api_key_only", "resource", "instructions", "aliases", "prompts", "templates", "resources"):
            table.drop_column(name)
