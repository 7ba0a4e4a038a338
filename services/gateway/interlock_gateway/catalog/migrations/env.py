"""Alembic's entry: which tables, which version table."""

from interlock_common.database import run_migrations
from interlock_gateway.catalog.models import Base

run_migrations(Base.metadata, "catalog")
