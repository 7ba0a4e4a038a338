"""The settings of plugins."""

from pathlib import Path

from pydantic import Field

from interlock_common.settings import ServiceSettings

DEFAULT_PATH = Path("plugins/config.yaml")


class Settings(ServiceSettings):
    """Read from the environment; the README has the table."""

    health_port: int = Field(default=9104, ge=0, le=65535)
    plugins_config_path: Path | None = None
    plugins_max_payload_bytes: int = Field(default=4 * 1024 * 1024, ge=1)

    def plugin_file(self) -> Path | None:
        """The file to read: the one that is named, else the usual one if it is there, else None (the packaged one)."""
        if self.plugins_config_path is not None:
            return self.plugins_config_path
        return DEFAULT_PATH if DEFAULT_PATH.exists() else None
