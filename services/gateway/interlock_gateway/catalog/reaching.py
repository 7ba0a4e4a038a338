"""How the catalog reaches each kind of upstream to find out about it."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from interlock_common.messages.catalog import DefinitionKind, Kind, Upstream
from interlock_gateway.upstreams.addresses import AddressPolicy
from interlock_gateway.upstreams.credentials import Credentials
from interlock_gateway.upstreams.discovery.asking import Asking, Introduction
from interlock_gateway.upstreams.discovery.discovery import EVERYTHING, Discovered, discover
from interlock_gateway.upstreams.discovery.exchange import UpstreamUnusable
from interlock_gateway.upstreams.discovery.http_asking import HttpAsking
from interlock_gateway.upstreams.discovery.transport_asking import TransportAsking
from interlock_gateway.upstreams.tls import TlsContexts
from interlock_gateway.upstreams.transport import Transport

_UNAUTHORIZED = 401


@dataclass(frozen=True)
class Reaching:
    """Discovers upstreams, each within ``timeout`` seconds.

    Streamable HTTP is spoken here, since the statuses of answers tell the era; all else goes over ``transports``.
    Whoever registered an upstream is whom its credential is asked for.
    """

    http: aiohttp.ClientSession
    policy: AddressPolicy
    tls: TlsContexts
    credentials: Credentials
    transports: Mapping[Kind, Transport]
    timeout: float

    async def __call__(self, upstream: Upstream, kinds: frozenset[DefinitionKind] = EVERYTHING) -> Discovered:
        known = None
        if kinds != EVERYTHING:
            capabilities = bytes(upstream.capabilities)
            # A server that did not say what it can do was asked for everything, and is again.
            said = None if capabilities == b"{}" else capabilities
            known = Introduction(upstream.era, upstream.protocol_version, said, upstream.instructions)
        try:
            return await self._discover(upstream, known, kinds)
        except UpstreamUnusable as error:
            refused = upstream.credential.kind != "none" and error.fields.get("status") == _UNAUTHORIZED
            if refused and self.credentials.invalid(upstream, upstream.owner):
                return await self._discover(upstream, known, kinds)
            raise

    async def _discover(
        self, upstream: Upstream, known: Introduction | None, kinds: frozenset[DefinitionKind]
    ) -> Discovered:
        return await discover(await self._asking(upstream), timeout=self.timeout, known=known, kinds=kinds)

    async def _asking(self, upstream: Upstream) -> Asking:
        if upstream.transport == "http":
            url = URL(upstream.url)
            self.policy.check(url)
            headers = await self.credentials.headers(upstream, upstream.owner)
            tls = None if upstream.tls is None else self.tls.of(upstream)
            return HttpAsking(self.http, url, upstream.wanted_era, headers, tls)
        transport = self.transports.get(upstream.transport)
        if transport is None:
            raise UpstreamUnusable(f"the catalog has no way to upstreams of the kind {upstream.transport}", "protocol")
        return TransportAsking(transport, upstream)
