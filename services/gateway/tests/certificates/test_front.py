"""Whose headers count, and what becomes of those of everybody else."""

from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.messages.certs import RevokedCertificate
from interlock_gateway.certificates.cross_site import check_same_site
from interlock_gateway.certificates.errors import CertificateRevoked, CrossSite, ProxyMisconfigured
from interlock_gateway.certificates.front import CertificateFront, NamedProxies, Trust
from interlock_gateway.certificates.identity import IdentityRules
from interlock_gateway.certificates.peer import PEER, PeerCertificate
from interlock_gateway.certificates.proxy_headers import ProxyHeaders
from interlock_gateway.certificates.settings import CertificateSettings
from interlock_gateway.certificates.shown import Shown, shown_by
from interlock_gateway.certificates.standing import RevokedCertificates, Standing
from interlock_gateway.guard.client_address import PROXY, TrustedProxies
from interlock_gateway.testing.certificates import ClientCa, peer_of

CA = ClientCa()
ADAS = CA.issue("ada", emails=("ada@example.com",))
ADA_PEER = peer_of(ADAS)
PROXYS = CA.peer("front", dns_names=("front.example.com",))
PASSED_ON = [
    (b"x-ssl-client-cert", quote(ADAS.public_bytes(Encoding.PEM)).encode()),
    (b"x-ssl-client-verify", b"SUCCESS"),
]
USER = [(b"x-authenticated-user", b"root@example.com")]
FRIEND, STRANGER = "10.0.0.7", "192.0.2.9"


class Passed:
    """The application behind, and what it is given."""

    def __init__(
        self, *, believed: bool = True, tokens: bool = True, user_header: str = "X-Authenticated-User"
    ) -> None:
        self.scope: dict[str, Any] = {}
        self.stripped: list[str] = []
        self.revoked = RevokedCertificates()
        standing = Standing(SYSTEM_CLOCK, self.revoked)
        trust = Trust(
            believed, TrustedProxies("10.0.0.0/8"), NamedProxies("front.example.com, sha256:00", standing.check)
        )
        self.front = CertificateFront(
            self._app, ProxyHeaders(IdentityRules(), user_header), trust,
            lambda _scope, names: self.stripped.extend(names), tokens_count=tokens,
        )  # fmt: skip

    async def ask(
        self, headers: list[tuple[bytes, bytes]], client: str = FRIEND, *, peer: PeerCertificate | None = None,
        path: str = "/mcp",
    ) -> Shown | None:  # fmt: skip
        scope = {"path": path, "headers": [(b"host", b"x"), *headers], "client": (client, 5), PEER: peer}
        await self.front(scope, _never, _never)
        return shown_by(self.scope)

    async def _app(self, scope: dict[str, Any], _receive: Any, _send: Any) -> None:
        self.scope = scope


async def _never(*_: Any) -> Any:
    raise AssertionError("nobody asks")


async def test_a_trusted_proxy_speaks_for_its_client() -> None:
    passed = Passed()
    shown = await passed.ask(PASSED_ON)
    assert shown is not None
    assert shown.certificate == ADA_PEER
    assert passed.scope["headers"] == [(b"host", b"x")]
    assert not passed.stripped


@pytest.mark.parametrize("headers", [PASSED_ON, USER, [*PASSED_ON, *USER], [(b"x-forwarded-client-cert", b"Cert=x")]])
async def test_from_anybody_else_the_headers_are_taken_off_and_told(headers: list[tuple[bytes, bytes]]) -> None:
    passed = Passed()
    assert await passed.ask(headers, STRANGER) is None
    assert passed.scope["headers"] == [(b"host", b"x")]
    assert len(passed.stripped) == len(headers)


async def test_the_users_header_may_have_any_name_of_its_own() -> None:
    passed = Passed(user_header="Remote-User")
    assert await passed.ask([(b"remote-user", b"root@example.com")]) == Shown(user="root@example.com")
    assert await passed.ask([(b"remote-user", b"root@example.com")], STRANGER) is None
    assert passed.stripped == ["Remote-User"]
    with pytest.raises(ValueError, match="says something else"):
        CertificateSettings(proxy_user_header="Authorization")


async def test_without_the_setting_nobody_is_believed() -> None:
    passed = Passed(believed=False)
    assert await passed.ask(USER) is None
    assert passed.scope["headers"] == [(b"host", b"x")]


async def test_a_client_with_a_certificate_cannot_be_somebody_else_by_headers() -> None:
    passed = Passed()
    assert await passed.ask(USER, STRANGER, peer=ADA_PEER) == Shown(ADA_PEER)
    assert passed.stripped == ["X-Authenticated-User"]


async def test_the_certificate_of_a_proxy_is_enough_and_is_not_that_of_the_client() -> None:
    passed = Passed()
    assert await passed.ask(USER, STRANGER, peer=PROXYS) == Shown(user="root@example.com")
    assert passed.scope[PROXY]
    assert await passed.ask([], STRANGER, peer=PROXYS) is None


async def test_a_revoked_certificate_of_a_proxy_opens_nothing() -> None:
    passed = Passed()
    said = RevokedCertificate(PROXYS.serial, PROXYS.authority_key_id or "", "", "", "key_compromise", 0)
    passed.revoked.take(PROXYS.key, said)
    shown = await passed.ask(USER, STRANGER, peer=PROXYS)
    assert shown is not None
    assert isinstance(shown.trouble, CertificateRevoked)
    assert shown.user is None


async def test_a_certificate_of_the_connection_is_shown() -> None:
    assert await Passed().ask([], STRANGER, peer=ADA_PEER) == Shown(ADA_PEER)
    assert await Passed().ask([], STRANGER) is None


@pytest.mark.parametrize("path", ["/mcp", "/servers/s1/mcp/", "/sse", "/messages", "/rpc", "/ws", "/reverse-proxy/ws"])
async def test_where_tokens_are_off_a_missing_header_is_named(path: str) -> None:
    shown = await Passed(tokens=False).ask([], path=path)
    assert shown is not None
    assert shown.tokens_off
    assert isinstance(shown.missing, ProxyMisconfigured)
    assert "X-Authenticated-User" in shown.missing.detail
    shown = await Passed(tokens=False).ask([], STRANGER, path=path)
    assert shown is not None
    assert shown.tokens_off
    assert shown.missing is None


@pytest.mark.parametrize("path", ["/tokens", "/admin/users", "/servers", "/auth/login", "/servers/a/b/mcp"])
async def test_the_administration_takes_tokens_all_the_same(path: str) -> None:
    assert await Passed(tokens=False).ask([], path=path) is None
    assert await Passed(tokens=False).ask(USER, path=path) == Shown(user="root@example.com")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ([], True),
        ([(b"origin", b"https://gateway.example")], True),
        ([(b"sec-fetch-site", b"same-origin")], True),
        ([(b"origin", b"https://evil.example")], False),
        ([(b"origin", b"null")], False),
        ([(b"sec-fetch-site", b"cross-site")], False),
        ([(b"sec-fetch-site", b"same-site")], False),
        ([(b"origin", b"https://evil.example"), (b"sec-fetch-site", b"same-origin")], False),
    ],
)
def test_a_page_of_another_site_cannot_use_what_a_browser_adds(
    headers: list[tuple[bytes, bytes]], *, allowed: bool
) -> None:
    origins = {"https://gateway.example"}
    check_same_site("GET", headers, origins)
    if allowed:
        check_same_site("POST", headers, origins)
    else:
        with pytest.raises(CrossSite):
            check_same_site("DELETE", headers, origins)
