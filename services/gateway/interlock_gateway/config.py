"""Settings of the edge."""

from pydantic import Field, SecretStr

from interlock_gateway.certificates.settings import CertificateSettings
from interlock_gateway.guard.origins import Origins
from interlock_gateway.guard.settings import GuardSettings
from interlock_gateway.tls_front.settings import TlsSettings


class Settings(GuardSettings, TlsSettings, CertificateSettings):
    """What an operator may set; names as environment variables in upper case."""

    host: str = "0.0.0.0"
    health_port: int = Field(default=9102, ge=0, le=65535)
    port: int = Field(default=4444, ge=0, le=65535)
    public_url: str = ""
    jwt_issuer: str = "mcpgateway"
    jwt_audience: str = "mcpgateway-api"
    jwt_issuer_verification: bool = True
    jwt_audience_verification: bool = True
    require_token_expiration: bool = True
    require_jti: bool = True
    validate_token_environment: bool = False
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    max_answer_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    call_timeout: float = Field(default=60.0, gt=0)
    client_answer_timeout: float = Field(default=300.0, gt=0)
    call_limit: float = Field(default=3600.0, gt=0)
    progress_resets: bool = True
    principal_concurrency: int = Field(default=100, ge=1)
    upstream_concurrency: int = Field(default=64, ge=1)
    held_call_lifetime: float = Field(default=300.0, gt=0)
    held_calls_per_principal: int = Field(default=16, ge=1)
    held_calls: int = Field(default=1000, ge=1)
    list_page_size: int = Field(default=1000, ge=1, le=10_000)
    auth_encryption_secret: SecretStr | None = None
    allow_private_upstreams: bool = False
    allow_upstream_networks: str = ""
    revocation_lease: float = Field(default=5.0, ge=2.0)
    best_effort_methods: str = ""
    oauth_dynamic_registration: bool | None = None
    oauth_client_documents: bool = True
    session_lifetime: float = Field(default=24 * 3600.0, gt=0)
    sessions_per_principal: int = Field(default=1000, ge=1)
    audit_digest_key: SecretStr | None = None

    @property
    def going_on(self) -> frozenset[str]:
        """The methods that are served while revocations are stale."""
        return frozenset(name.strip() for name in self.best_effort_methods.split(",") if name.strip())

    @property
    def clients_register(self) -> bool:
        """Whether it is said that OAuth clients register themselves; where it is not set, in development only."""
        if self.oauth_dynamic_registration is None:
            return self.environment == "development"
        return self.oauth_dynamic_registration

    @property
    def scheme(self) -> str:
        """What the public listener speaks."""
        return "https" if self.ssl else "http"

    @property
    def own_url(self) -> str:
        """What browsers call the gateway by, without a slash at its end."""
        return self.public_url.rstrip("/") or f"{self.scheme}://localhost:{self.port}"

    @property
    def origins(self) -> Origins:
        """Browser origins whose pages may call: those allowed, the public one, and this machine's own.

        Never simply what the Host header says: a name that an attacker lets resolve to this machine says that too.
        """
        local = {f"{self.scheme}://{host}:{self.port}" for host in ("localhost", "127.0.0.1", "[::1]")}
        public = "/".join(self.public_url.split("/", 3)[:3])
        listed = self.listed_origins
        return Origins(frozenset({*listed.named, *local, *({public} if public else ())}), listed.loopback)
