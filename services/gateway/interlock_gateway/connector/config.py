"""Settings of the connector."""

from pydantic import Field, SecretStr

from interlock_common.settings import ServiceSettings


class Settings(ServiceSettings):
    """What an operator may set; names as environment variables in upper case, times in seconds."""

    health_port: int = Field(9107, ge=0, le=65535)
    connector_commands: str = ""
    max_processes: int = Field(64, ge=1, le=10_000)
    max_exchanges: int = Field(1000, ge=1)
    max_message_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=7 * 1024 * 1024)
    probe_timeout: float = Field(5.0, gt=0, le=60)
    start_timeout: float = Field(60.0, gt=0, le=600)
    auth_encryption_secret: SecretStr | None = None

    @property
    def allowed_commands(self) -> frozenset[str]:
        """The commands that may be run; all that were registered where none are named."""
        return frozenset(entry for each in self.connector_commands.split(",") if (entry := each.strip()))
