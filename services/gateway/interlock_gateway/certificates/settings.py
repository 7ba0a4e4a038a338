"""Settings about who a client certificate is, and about proxies that speak for clients."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from interlock_common.settings import ServiceSettings
from interlock_gateway.certificates.identity import DEFAULT_RULES

_NEEDED = frozenset({
    "authorization", "host", "cookie", "origin", "accept", "content-type", "content-length", "user-agent",
    "x-forwarded-for", "x-forwarded-proto", "mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name",
})  # fmt: skip
"""Headers that say something else, and must reach the edge."""


class CertificateSettings(ServiceSettings):
    """Which credentials count beside tokens."""

    mcp_client_auth_enabled: bool = True
    trust_proxy_auth: bool = False
    proxy_user_header: str = Field(default="X-Authenticated-User", pattern=r"^[A-Za-z0-9-]{1,64}$")
    proxy_certificates: str = ""
    client_cert_auth: bool = False
    client_cert_identity: str = DEFAULT_RULES
    client_cert_rules_file: Path | None = None
    client_ca_certs: Path | None = None
    client_crl: str = ""
    client_crl_refresh: float = Field(default=300.0, gt=0)
    client_crl_hard_fail: bool = True
    client_ocsp: Literal["off", "soft", "hard"] = "off"
    client_ocsp_url: str = ""

    @field_validator("proxy_user_header")
    @classmethod
    def _is_its_own(cls, name: str) -> str:
        if name.lower() in _NEEDED:
            raise ValueError(f"{name} says something else than who the user is")
        return name
