"""Which addresses upstreams may have: the guard against being sent into the deployment's own network.

A name is judged by what it resolves to, inside the resolver of the connection itself, so no second look-up can
answer differently. aiohttp does not resolve addresses written as figures: ``check_literal`` judges those.
"""

import ipaddress
import socket

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from interlock_common.errors import UpstreamFailed

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressForbidden(UpstreamFailed):
    """The upstream has an address that only ALLOW_PRIVATE_UPSTREAMS lets the gateway reach."""

    code = "upstream_address_forbidden"
    retryable = False


def is_public(address: str) -> bool:
    """Whether ``address`` belongs to the internet at large, whatever form it hides in."""
    parsed = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
    return parsed.is_global and not parsed.is_multicast


def _unwrapped(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def check_literal(url: URL, *, allow_private: bool) -> None:
    """Refuse a URL whose host is written as a forbidden address; names are for the resolver to judge."""
    host = (url.host or "").strip("[]")
    try:
        public = allow_private or is_public(host)
    except ValueError:
        return
    if not public:
        raise _forbidden(host)


def _forbidden(host: str) -> AddressForbidden:
    return AddressForbidden(f"{host} is not a public address, and private upstreams are not allowed here",
                            cause="address")  # fmt: skip


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses those that lead to an address which is not public."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        if not all(is_public(result["host"]) for result in results):
            raise _forbidden(host)
        return results

    async def close(self) -> None:
        await self._resolver.close()


def upstream_connector(*, allow_private: bool, limit: int = 100, limit_per_host: int = 0) -> TCPConnector:
    """The connector for everything that goes to an upstream."""
    resolver = None if allow_private else PublicResolver()
    return TCPConnector(limit=limit, limit_per_host=limit_per_host, resolver=resolver)
