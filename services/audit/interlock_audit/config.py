"""The settings of audit."""

from pathlib import Path

from pydantic import Field

from interlock_common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from the environment; the README has the table."""

    health_port: int = Field(9106, ge=0, le=65535)
    database_url: str = Field("sqlite:///audit.db", repr=False)
    tiles_dir: Path = Path("tiles")
    key_dir: Path = Path("keys")
    audit_origin: str = Field("", pattern=r"^[^\s+]*$", max_length=255)
    checkpoint_interval: float = Field(1.0, gt=0)
    lease_seconds: float = Field(10.0, ge=1)
    fetch_batches: int = Field(64, ge=1, le=1024)
    max_ack_pending: int = Field(256, ge=1)
    max_lag: int = Field(10_000, ge=1)

    @property
    def origin(self) -> str:
        """The name of the log in its checkpoints."""
        return self.audit_origin or f"interlock/{self.trust_domain}/audit"
