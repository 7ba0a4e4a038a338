"""Settings of the catalog."""

from pydantic import Field

from interlock_common.settings import ServiceSettings


class Settings(ServiceSettings):
    """What an operator may set; names as environment variables in upper case, times in seconds."""

    health_port: int = Field(9103, ge=0, le=65535)
    database_url: str = "sqlite:///catalog.db"
    allow_private_upstreams: bool = False
    refresh_interval: float = Field(60.0, gt=0)
    refresh_concurrency: int = Field(8, ge=1, le=100)
    discovery_timeout: float = Field(15.0, gt=0, le=30)
