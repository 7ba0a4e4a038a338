import pytest

from interlock_gateway.errors import ScopeMissing
from interlock_gateway.rest.scoping import check_server_scope


@pytest.mark.parametrize(
    "path", ["/servers/desk", "/servers/desk/tools", "/servers/desk/mcp", "/openapi.json", "/docs", "/redoc"]
)
def test_a_credential_of_one_server_reaches_it_and_the_documentation(path: str) -> None:
    check_server_scope("desk", path)


@pytest.mark.parametrize(
    "path",
    [
        "/servers", "/servers/", "/servers/desk2", "/servers/other/tools", "/tools", "/gateways", "/export", "/import",
        "/tokens", "/audit/records", "/mcp", "/servers/../tools", "/admin", "/openapi.json/", "/",
    ],
)  # fmt: skip
def test_a_credential_of_one_server_reaches_nothing_else(path: str) -> None:
    with pytest.raises(ScopeMissing):
        check_server_scope("desk", path)
    check_server_scope(None, path)
