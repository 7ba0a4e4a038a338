"""The settings of auth; names and defaults of tokens as the 1.0 line of ContextForge has them."""

from pathlib import Path

from interlock_common.settings import ServiceSettings
from pydantic import Field

from interlock_auth.signing import Algorithm
from interlock_auth.tokens import DEFAULT_AUDIENCE, DEFAULT_ISSUER


class Settings(ServiceSettings):
    """Read from the environment; the README has the table."""

    health_port: int = Field(9101, ge=0, le=65535)
    database_url: str = "sqlite:///auth.db"

    platform_admin_email: str = Field("admin@example.com", min_length=3, max_length=254)
    platform_admin_password: str | None = Field(None, repr=False)
    password_min_length: int = Field(8, ge=8)
    max_failed_login_attempts: int = Field(10, ge=1)
    account_lockout_duration_minutes: int = Field(30, ge=1)

    jwt_algorithm: Algorithm = "EdDSA"
    jwt_secret_key: str = Field("", repr=False)
    jwt_publish_secret: bool = False
    jwt_private_key_path: Path | None = None
    jwt_public_key_path: Path | None = None
    jwt_issuer: str = Field(DEFAULT_ISSUER, min_length=1)
    jwt_audience: str = Field(DEFAULT_AUDIENCE, min_length=1)
    embed_environment_in_tokens: bool = False
    require_token_expiration: bool = True
    max_token_lifetime: int = Field(90 * 86400, ge=1)
    session_token_lifetime: int = Field(3600, ge=1)

    key_dir: Path = Path("keys")
    key_overlap: int = Field(10, ge=0)
    key_lifetime: int = Field(90 * 86400, ge=1)
    housekeeping_interval: float = Field(15.0, gt=0)

    @property
    def development(self) -> bool:
        return self.environment == "development"
