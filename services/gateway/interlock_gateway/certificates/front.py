"""The outermost layer of the edge: what a connection and a trusted proxy show of the client, for whoever authenticates.

Headers that speak of who the client is go no further, whoever sent them: what counts of them is in the scope.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from interlock_common.errors import InterlockError
from interlock_gateway.certificates.errors import ProxyMisconfigured
from interlock_gateway.certificates.peer import PEER, PeerCertificate
from interlock_gateway.certificates.proxy_headers import Pairs, ProxyHeaders
from interlock_gateway.certificates.shown import SHOWN, Shown
from interlock_gateway.endpoints.reply import Send
from interlock_gateway.endpoints.requests import Receive, Scope
from interlock_gateway.guard.client_address import PROXY, TrustedProxies

_OF_CLIENTS = re.compile(
    r"(?:/servers/[^/]{1,128})?/(?:mcp|sse|messages|ws)/?|/rpc|/reverse-proxy/ws"
)  # fmt: skip
"""Where MCP is spoken: ``MCP_CLIENT_AUTH_ENABLED`` is about these, never about the administration."""

type App = Callable[[Scope, Receive, Send], Awaitable[None]]
type Stripped = Callable[[Scope, list[str]], None]


class ProxyCertificates(Protocol):
    """Which certificates are those of proxies."""

    def trusts(self, peer: PeerCertificate) -> bool:
        """Whether it is one; raises CertificateRefused where it was one and does not count any more."""
        ...


class Statuses(Protocol):
    """Where it is asked whether a certificate was revoked, by those who can wait."""

    async def learn(self, peer: PeerCertificate) -> None:
        """Return when what is known of a certificate is fresh, or cannot be had in time."""
        ...


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose headers count: none where ``believed`` is False, else those of proxies by address or certificate."""

    believed: bool
    proxies: TrustedProxies
    certificates: ProxyCertificates


@dataclass(frozen=True, slots=True)
class CertificateFront:
    """Wraps the application; ``stripped`` is told of headers that somebody sent who is no trusted proxy."""

    app: App
    headers: ProxyHeaders
    trust: Trust
    stripped: Stripped
    statuses: Statuses | None = None
    tokens_count: bool = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: PeerCertificate | None = scope.get(PEER)
        pairs: Pairs = scope["headers"]
        speaks = self.headers.speaks
        said = [pair for pair in pairs if speaks(pair[0])]
        if said:
            scope["headers"] = [pair for pair in pairs if not speaks(pair[0])]
        if said or peer is not None or not self.tokens_count:
            shown = self._shown(scope, said, peer)
            if shown is not None:
                if self.statuses is not None and shown.certificate is not None:
                    await self.statuses.learn(shown.certificate)
                scope[SHOWN] = shown
        await self.app(scope, receive, send)

    def _shown(self, scope: Scope, said: Pairs, peer: PeerCertificate | None) -> Shown | None:
        try:
            by_certificate = peer is not None and self.trust.certificates.trusts(peer)
        except InterlockError as error:
            return Shown(trouble=error)
        client = scope.get("client")
        proxy = by_certificate or (client is not None and self.trust.proxies.trusts(client[0]))
        if by_certificate:
            scope[PROXY] = True
            peer = None
        if said and not proxy:
            self.stripped(scope, [self.headers.spelt(name) for name, _ in said])
        shown = self.headers.read(said) if said and proxy and self.trust.believed else None
        if shown is None and peer is not None:
            shown = Shown(peer)
        if self.tokens_count or _OF_CLIENTS.fullmatch(scope["path"]) is None:
            return shown
        return self._without_tokens(shown or Shown(), asked=proxy and self.trust.believed)

    def _without_tokens(self, shown: Shown, *, asked: bool) -> Shown:
        missing = None
        if asked:
            missing = ProxyMisconfigured(f"the proxy sent no {self.headers.wanted}", header=self.headers.wanted)
        return Shown(
            shown.certificate, shown.user, shown.organization, vouched=shown.vouched, trouble=shown.trouble,
            tokens_off=True, missing=missing,
        )  # fmt: skip


class NoProxyCertificates:
    """No certificate makes a proxy."""

    def trusts(self, _peer: PeerCertificate, /) -> bool:
        return False


class NamedProxies:
    """Certificates of proxies by ``sha256:`` fingerprint or by a name: common name, DNS or URI.

    ``check`` raises for a certificate that counts no longer.
    """

    def __init__(self, text: str, check: Callable[[PeerCertificate], None]) -> None:
        self._names = frozenset(part.strip() for part in text.split(",") if part.strip())
        self._check = check

    def trusts(self, peer: PeerCertificate) -> bool:
        names: tuple[Any, ...] = (peer.fingerprint, peer.common_name, *peer.dns_names, *peer.uris)
        if self._names.isdisjoint(names):
            return False
        self._check(peer)
        return True
