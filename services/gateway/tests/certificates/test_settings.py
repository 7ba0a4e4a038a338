from typing import Any

import pytest

from interlock_common.errors import ConfigurationError
from interlock_gateway.certificates.crl_sources import require_issuers
from interlock_gateway.config import Settings
from interlock_gateway.wiring.certificates import check_credentials


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"mcp_client_auth_enabled": False}, "MCP_CLIENT_AUTH_ENABLED"),
        ({"trust_proxy_auth": True}, "TRUSTED_PROXIES"),
        ({"client_cert_auth": True}, "CERT_REQS"),
        ({"client_cert_auth": True, "mcp_client_auth_enabled": False}, "CERT_REQS"),
    ],
)
def test_settings_with_which_nobody_could_come_in_stop_the_start(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        check_credentials(Settings(**settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"trust_proxy_auth": True, "trusted_proxies": "10.0.0.0/8", "mcp_client_auth_enabled": False},
        {"trust_proxy_auth": True, "proxy_certificates": "front.example.com"},
        {"client_cert_auth": True, "cert_reqs": 1, "ssl": True, "mcp_client_auth_enabled": False},
    ],
)
def test_settings_that_go_together_are_taken(settings: dict[str, Any]) -> None:
    check_credentials(Settings(**settings))


def test_lists_and_answers_need_the_cas_that_sign_them() -> None:
    require_issuers(issuers_known=True, setting="CLIENT_OCSP")
    with pytest.raises(ConfigurationError, match="CLIENT_OCSP needs the CAs"):
        require_issuers(issuers_known=False, setting="CLIENT_OCSP")
