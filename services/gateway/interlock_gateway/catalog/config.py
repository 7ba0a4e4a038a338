"""Settings of the catalog."""

from typing import Literal

from pydantic import Field, SecretStr

from interlock_common.settings import ServiceSettings

type Treatment = Literal["quarantine", "warn", "accept"]


class Settings(ServiceSettings):
    """What an operator may set; names as environment variables in upper case, times in seconds."""

    health_port: int = Field(9103, ge=0, le=65535)
    database_url: str = "sqlite:///catalog.db"
    auth_encryption_secret: SecretStr | None = None
    allow_private_upstreams: bool = False
    allow_upstream_networks: str = ""
    refresh_interval: float = Field(60.0, gt=0)
    refresh_concurrency: int = Field(8, ge=1, le=100)
    discovery_timeout: float = Field(15.0, gt=0, le=30)
    listen_limit: int = Field(256, ge=0, le=10_000)
    definition_widened: Treatment = "quarantine"
    definition_described: Treatment = "warn"
    definition_new: Treatment = "accept"
