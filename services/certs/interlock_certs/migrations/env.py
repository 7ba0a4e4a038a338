from interlock_certs.models import Base
from interlock_common.database import run_migrations

run_migrations(Base.metadata, "certs")
