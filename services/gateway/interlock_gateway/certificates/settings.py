"""Settings about who a client certificate is, and about proxies that speak for clients."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from interlock_common.settings import ServiceSettings
from interlock_gateway.certificates.identity import DEFAULT_RULES


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
