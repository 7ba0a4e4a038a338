"""Settings of what stands before every endpoint."""

from pydantic import Field

from interlock_common.settings import ServiceSettings
from interlock_gateway.guard.buckets import Rate
from interlock_gateway.guard.client_address import TrustedProxies
from interlock_gateway.guard.cookies import CookieRules, SameSite
from interlock_gateway.guard.origins import Cors, Origins
from interlock_gateway.guard.rate_limits import ADDRESS, CERTIFICATE, LOGIN, PRINCIPAL, TOKEN
from interlock_gateway.guard.security_headers import Framing, SecurityHeaders


class GuardSettings(ServiceSettings):
    """Rate limits, origins, headers, cookies and well-known files."""

    allowed_origins: str = ""
    app_domain: str = ""
    cors_enabled: bool = True
    cors_allow_credentials: bool = False
    trusted_proxies: str = ""
    rate_limit_principal: str = "1000/2000"
    rate_limit_token: str = "1000/2000"  # noqa: S105 - a rate
    rate_limit_certificate: str = "10/20"
    rate_limit_address: str = "2000/4000"
    rate_limit_login: str = "1/20"
    security_headers_enabled: bool = True
    x_frame_options: Framing = "DENY"
    content_security_policy: str = ""
    hsts_enabled: bool = True
    hsts_max_age: int = Field(default=31_536_000, ge=0)
    secure_cookies: bool = True
    cookie_samesite: SameSite = "lax"
    well_known_enabled: bool = True
    well_known_custom_files: str = ""
    security_contact: str = ""

    @property
    def rates(self) -> dict[str, Rate | None]:
        """The limits by the kind of key that they hold for; raises ConfigurationError."""
        return {
            PRINCIPAL: Rate.parse("RATE_LIMIT_PRINCIPAL", self.rate_limit_principal),
            TOKEN: Rate.parse("RATE_LIMIT_TOKEN", self.rate_limit_token),
            CERTIFICATE: Rate.parse("RATE_LIMIT_CERTIFICATE", self.rate_limit_certificate),
            ADDRESS: Rate.parse("RATE_LIMIT_ADDRESS", self.rate_limit_address),
            LOGIN: Rate.parse("RATE_LIMIT_LOGIN", self.rate_limit_login),
        }

    @property
    def proxies(self) -> TrustedProxies:
        return TrustedProxies(self.trusted_proxies)

    @property
    def listed_origins(self) -> Origins:
        """Origins whose pages may read answers; while developing, those of the developer's machine too."""
        domain = [f"https://{self.app_domain}"] if self.app_domain else []
        return Origins.of(self.allowed_origins, loopback=self.environment == "development", more=domain)

    @property
    def cors(self) -> Cors:
        return Cors(self.listed_origins, self.cors_allow_credentials, self.cors_enabled)

    @property
    def security_headers(self) -> SecurityHeaders:
        seconds = self.hsts_max_age if self.hsts_enabled else 0
        return SecurityHeaders(
            self.security_headers_enabled, self.x_frame_options, seconds, self.content_security_policy
        )

    @property
    def cookies(self) -> CookieRules:
        """Nothing but development can do without Secure."""
        secure = self.secure_cookies or self.environment != "development"
        return CookieRules(secure, self.cookie_samesite)
