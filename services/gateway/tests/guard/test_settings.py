import pytest
from starlette.responses import Response

from interlock_common.errors import ConfigurationError
from interlock_gateway.config import Settings
from interlock_gateway.guard.cookies import CookieRules
from interlock_gateway.guard.origins import Origins
from interlock_gateway.guard.security_headers import SecurityHeaders


def test_production_knows_only_the_origins_that_were_named() -> None:
    named = "https://a.example, http://b:81/"
    settings = Settings(environment="production", allowed_origins=named, app_domain="c.example")
    known = ("https://a.example", "http://b:81", "https://c.example")
    assert all(origin in settings.listed_origins for origin in known)
    for origin in ("http://localhost:3000", "https://a.example.evil", "http://a.example", "null", "*", ""):
        assert origin not in settings.listed_origins


def test_development_knows_the_developers_machine_too() -> None:
    origins = Settings(environment="development").listed_origins
    assert all(origin in origins for origin in ("http://localhost:3000", "https://127.0.0.1", "http://[::1]:6274"))
    assert not any(
        origin in origins for origin in ("http://localhost.evil:1", "http://localhost:3000/x", "http://[::2]")
    )


def test_the_gateways_own_pages_may_call_wherever_it_runs() -> None:
    settings = Settings(environment="production", public_url="https://gw.example/base", port=4444)
    assert all(origin in settings.origins for origin in ("https://gw.example", "http://localhost:4444"))
    assert "http://localhost:3000" not in settings.origins


@pytest.mark.parametrize("text", ["*", "a.example", "https://a.example/path", "ftp://a.example", "https://*.example"])
def test_what_is_no_origin_names_the_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="ALLOWED_ORIGINS"):
        Origins.of(text)


def test_hsts_is_for_https_and_can_be_off() -> None:
    def strict(settings: Settings, *, https: bool = True) -> bool:
        return b"strict-transport-security" in dict(settings.security_headers.beside((), https=https))

    assert [strict(Settings()), strict(Settings(), https=False)] == [True, False]
    assert not strict(Settings(hsts_enabled=False))
    assert not strict(Settings(security_headers_enabled=False))


def test_frames_and_the_policy_go_together_and_a_policy_of_ones_own_counts() -> None:
    said = dict(SecurityHeaders(framing="SAMEORIGIN").beside((), https=False))
    assert said[b"x-frame-options"] == b"SAMEORIGIN"
    assert said[b"content-security-policy"].endswith(b"frame-ancestors 'self'")
    own = ((b"content-security-policy", b"default-src 'self'"),)
    assert b"content-security-policy" not in dict(SecurityHeaders().beside(own, https=False))
    with pytest.raises(ConfigurationError, match="CONTENT_SECURITY_POLICY"):
        SecurityHeaders(content_policy="default-src 'none'\r\nset-cookie: a=b")


def test_cookies_are_secure_wherever_it_is_not_development() -> None:
    assert Settings(environment="production", secure_cookies=False).cookies.secure
    assert not Settings(environment="development", secure_cookies=False).cookies.secure
    answer = Response()
    Settings().cookies.put(answer, "session", "value", seconds=60)
    assert answer.headers["set-cookie"] == "__Host-session=value; HttpOnly; Max-Age=60; Path=/; SameSite=lax; Secure"
    with pytest.raises(ConfigurationError, match="COOKIE_SAMESITE"):
        CookieRules(secure=False, same_site="none")
