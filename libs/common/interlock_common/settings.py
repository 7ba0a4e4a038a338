"""Settings every service has, read from the environment; secrets may come from files (``NAME_FILE``)."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from interlock_common.errors import ConfigurationError

_MAX_SECRET_BYTES = 64 * 1024


class _FileSource(PydanticBaseSettingsSource):
    """Takes the value of ``NAME`` from the file that ``NAME_FILE`` names, as container secrets come."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        del field  # the name says it all
        path = os.environ.get(f"{field_name.upper()}_FILE")
        if path is None:
            return None, field_name, False
        try:
            with Path(path).open(encoding="utf-8") as file:
                value = file.read(_MAX_SECRET_BYTES + 1)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigurationError(
                f"{field_name.upper()}_FILE names {path}, which cannot be read: {reason}"
            ) from None
        if len(value) > _MAX_SECRET_BYTES:
            raise ConfigurationError(f"{field_name.upper()}_FILE names {path}, which is over {_MAX_SECRET_BYTES} bytes")
        return value.rstrip("\r\n"), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class ServiceSettings(BaseSettings):
    """What every service must know; subclasses add their own, all frozen."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    environment: Literal["development", "staging", "production"] = "production"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    trust_domain: str = Field(default="interlock.local", pattern=r"^[a-z0-9.-]{1,253}$")
    bus_url: str = "tls://127.0.0.1:4222"
    identity_dir: Path = Path("identity")
    join_dir: Path = Path("join")
    enrolment_url: str = "https://127.0.0.1:8444"
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=0, ge=0, le=65535)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _FileSource(settings_cls)

    @classmethod
    def load(cls) -> Self:
        """Read the environment; a bad setting is an error that names it, never its value."""
        try:
            return cls()
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise ConfigurationError(f"settings are not usable: {problems}") from None
