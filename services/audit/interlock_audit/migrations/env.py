from interlock_audit.models import Base
from interlock_common.database import run_migrations

run_migrations(Base.metadata, "audit")
