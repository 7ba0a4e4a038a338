"""The platform administrator: created at the first start, never with a well-known password outside development."""

from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.models import PrincipalRow
from interlock_auth.names import normalized
from interlock_auth.passwords import Passwords
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import ConfigurationError

WELL_KNOWN_PASSWORD = "changeme"  # noqa: S105 - the default that must not survive outside development
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class FirstAdministrator:
    """Who it shall be; ``password`` may be left out once there is one."""

    email: str
    password: str | None = field(repr=False)
    min_length: int
    development: bool

    def first_password(self) -> str:
        """The password to create it with; raises ConfigurationError where none may be used."""
        self.refuse_well_known()
        if self.development:
            return self.password or WELL_KNOWN_PASSWORD
        if not self.password:
            raise ConfigurationError("PLATFORM_ADMIN_PASSWORD must be set for the first start outside development")
        if len(self.password) < self.min_length:
            raise ConfigurationError(f"PLATFORM_ADMIN_PASSWORD must have at least {self.min_length} characters")
        return self.password

    def refuse_well_known(self) -> None:
        if not self.development and self.password == WELL_KNOWN_PASSWORD:
            raise ConfigurationError("PLATFORM_ADMIN_PASSWORD is the well-known default, which only development allows")


async def ensure_administrator(
    engine: AsyncEngine, passwords: Passwords, clock: Clock, wanted: FirstAdministrator
) -> None:
    """Create the administrator where there is none; an existing one keeps its password.

    Raises ConfigurationError when the database is not there or not migrated, and outside development when the
    password, given or stored, is the well-known one.
    """
    wanted.refuse_well_known()
    name = normalized(wanted.email)
    try:
        async with transaction(engine) as session:
            existing = await Store(session).principal(name)
    except (SQLAlchemyError, OSError) as error:
        reason = f"DATABASE_URL cannot be used ({type(error).__name__}); has `python -m interlock_auth migrate` run?"
        raise ConfigurationError(reason) from error
    if existing is None:
        await _create(engine, passwords, clock, wanted)
    elif not wanted.development and await passwords.verify(existing.password_hash, WELL_KNOWN_PASSWORD):
        raise ConfigurationError(f"{name} still has the well-known default password, which only development allows")


async def _create(engine: AsyncEngine, passwords: Passwords, clock: Clock, wanted: FirstAdministrator) -> None:
    password = wanted.first_password()
    name = normalized(wanted.email)
    row = PrincipalRow(
        name=name, password_hash=await passwords.hash(password), active=True, is_admin=True, teams="[]",
        permissions="[]", created_at=int(clock.time()),
    )  # fmt: skip
    async with transaction(engine) as session:
        created = await Store(session).add_principal(row)
    if created:
        _log.info("platform administrator created", principal=name)
    if password == WELL_KNOWN_PASSWORD:
        _log.warning("the platform administrator has the well-known default password; only development allows it")
