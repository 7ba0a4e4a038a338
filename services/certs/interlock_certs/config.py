"""Settings of certs."""

import re
from pathlib import Path

from pydantic import Field, field_validator

from interlock_common.messages.access import BUS_ADMIN
from interlock_common.settings import ServiceSettings

_DAY = 86400
_IDENTITY = re.compile(r"[a-z][a-z0-9-]{0,62}")
_MADE_HERE = frozenset({"bus", BUS_ADMIN, "certs"})


class Settings(ServiceSettings):
    """Read from the environment; the README has the table. Lifetimes are in seconds, lists comma-separated."""

    health_port: int = Field(default=9105, ge=0, le=65535)
    database_url: str = "sqlite:///certs.db"
    ca_dir: Path = Path("ca")
    root_lifetime: int = Field(default=3650 * _DAY, ge=60)
    issuing_lifetime: int = Field(default=365 * _DAY, ge=60)
    leaf_lifetime: int = Field(default=_DAY, ge=3)
    bus_leaf_lifetime: int = Field(default=90 * _DAY, ge=3)
    join_drop_dir: Path = Path("join")
    join_identities: str = "auth,gateway,catalog,connector,plugins,audit,operator,worker"
    join_token_lifetime: int = Field(default=300, ge=5)
    bus_identity_dir: Path = Path("bus")
    bus_sans: str = "localhost,nats,127.0.0.1,::1"
    enrolment_host: str = "127.0.0.1"
    enrolment_port: int = Field(default=8444, ge=0, le=65535)
    enrolment_sans: str = "localhost,certs,127.0.0.1,::1"

    @field_validator("join_identities")
    @classmethod
    def _join(cls, value: str) -> str:
        for name in _split(value):
            if not _IDENTITY.fullmatch(name) or name in _MADE_HERE:
                raise ValueError(f"{name!r} is no identity that may join")
        return value

    @property
    def joining(self) -> tuple[str, ...]:
        return _split(self.join_identities)

    @property
    def bus_names(self) -> tuple[str, ...]:
        return _split(self.bus_sans)

    @property
    def enrolment_names(self) -> tuple[str, ...]:
        return _split(self.enrolment_sans)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
