"""The settings of auth; names and defaults of tokens as the 1.0 line of ContextForge has them."""

from pathlib import Path

from pydantic import Field, SecretStr

from interlock_auth.signing import Algorithm
from interlock_auth.tokens import DEFAULT_AUDIENCE, DEFAULT_ISSUER
from interlock_common.settings import ServiceSettings


class Settings(ServiceSettings):
    """Read from the environment; the README has the table."""

    health_port: int = Field(default=9101, ge=0, le=65535)
    database_url: str = "sqlite:///auth.db"

    platform_admin_email: str = Field(default="admin@example.com", min_length=3, max_length=254)
    platform_admin_password: str | None = Field(default=None, repr=False)
    password_min_length: int = Field(default=8, ge=8)
    password_require_uppercase: bool = False
    password_require_lowercase: bool = False
    password_require_numbers: bool = False
    password_require_special: bool = False
    public_registration_enabled: bool = False
    max_failed_login_attempts: int = Field(default=10, ge=1)
    account_lockout_duration_minutes: int = Field(default=30, ge=1)

    jwt_algorithm: Algorithm = "EdDSA"
    jwt_secret_key: str = Field(default="", repr=False)
    jwt_publish_secret: bool = False
    jwt_private_key_path: Path | None = None
    jwt_public_key_path: Path | None = None
    jwt_issuer: str = Field(default=DEFAULT_ISSUER, min_length=1)
    jwt_audience: str = Field(default=DEFAULT_AUDIENCE, min_length=1)
    embed_environment_in_tokens: bool = False
    require_token_expiration: bool = True
    max_token_lifetime: int = Field(default=90 * 86400, ge=1)
    session_token_lifetime: int = Field(default=3600, ge=1)

    oauth_dynamic_registration: bool | None = None
    oauth_max_clients: int = Field(default=1000, ge=1)
    oauth_access_token_lifetime: int = Field(default=900, ge=1)
    oauth_refresh_token_lifetime: int = Field(default=30 * 86400, ge=1)
    browser_session_idle: int = Field(default=1800, ge=1)
    browser_session_lifetime: int = Field(default=8 * 3600, ge=1)

    external_issuers_file: Path | None = None
    allow_private_issuers: bool = False
    allow_issuer_networks: str = ""
    auth_encryption_secret: SecretStr | None = None

    key_dir: Path = Path("keys")
    key_overlap: int = Field(default=10, ge=0)
    key_lifetime: int = Field(default=90 * 86400, ge=1)
    housekeeping_interval: float = Field(default=15.0, gt=0)

    @property
    def clients_register(self) -> bool:
        """Whether OAuth clients may register themselves; where it is not said, in development only."""
        return self.development if self.oauth_dynamic_registration is None else self.oauth_dynamic_registration

    @property
    def development(self) -> bool:
        return self.environment == "development"
