"""Which addresses of others may be reached: the guard against being sent into the deployment's own network.

A name is judged by what it resolves to, inside the resolver of the connection itself, so no second look-up can
answer differently. aiohttp does not resolve what is written as figures: ``AddressPolicy.check`` judges that, and lets
nothing pass that a socket could take for an address and Python does not (``127.1``, ``2130706433``, ``0177.0.0.1``).
"""

import ipaddress
import socket
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from interlock_common.errors import ConfigurationError, UpstreamFailed

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type _Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA: tuple[_Network, ...] = tuple(
    ipaddress.ip_network(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, Oracle, DigitalOcean
        "169.254.170.0/24",  # AWS: credentials of tasks and pods
        "169.254.169.253",  # AWS: the resolver
        "169.254.0.23",  # Tencent
        "169.254.42.42",  # Scaleway
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure: the wire server
        "192.0.0.192",  # Oracle, classic
        "fd00:ec2::/32",  # AWS over IPv6
        "fd20:ce::254",  # Google over IPv6
        "fd00:42::42",  # Scaleway over IPv6
        "fe80::a9fe:a9fe",  # OpenStack over IPv6
    )
)
"""Where clouds hand out credentials to whoever asks: reached only if an operator lists the address itself."""


class AddressForbidden(UpstreamFailed):
    """What was to be reached has an address that the settings do not allow."""

    code = "upstream_address_forbidden"
    retryable = False


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be reached besides the internet: everything private, or the ``networks`` and ``hosts`` listed.

    A listed host may be at any address. Metadata services need to be listed, whatever ``allow_private`` says.
    """

    allow_private: bool = False
    networks: tuple[_Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, *, allow_private: bool, allowed: str = "", setting: str = "ALLOW_UPSTREAM_NETWORKS") -> "AddressPolicy":
        """From settings, the one that lists networks and hosts called ``setting``; raises ConfigurationError."""
        networks: list[_Network] = []
        hosts: set[str] = set()
        for item in (part.strip() for part in allowed.split(",")):
            if not item:
                continue
            try:
                networks.append(ipaddress.ip_network(item))
            except ValueError:
                if "/" in item or not item.replace("-", "").replace(".", "").isalnum():
                    raise ConfigurationError(f"{setting}: {item!r} is neither a network nor a host name") from None
                hosts.add(item.lower().rstrip("."))
        return cls(allow_private, tuple(networks), frozenset(hosts))

    def allows(self, address: str) -> bool:
        """Whether a connection to ``address`` may be made."""
        parsed = _unwrapped(ipaddress.ip_address(address.partition("%")[0]))
        if any(parsed in network for network in self.networks):
            return True
        if any(parsed in network for network in METADATA):
            return False
        return self.allow_private or (parsed.is_global and not parsed.is_multicast)

    def names(self, host: str) -> bool:
        return host.lower().rstrip(".") in self.hosts

    def check(self, url: URL) -> None:
        """Refuse a URL whose host is written as a forbidden address; names are for the resolver to judge."""
        host = (url.host or "").strip("[]")
        try:
            allowed = self.allows(host)
        except ValueError:
            allowed = ":" not in host and not host.replace(".", "").isdigit()
        if not allowed:
            raise _forbidden(host)


def is_public(address: str) -> bool:
    """Whether ``address`` belongs to the internet at large, whatever form it hides in."""
    return AddressPolicy().allows(address)


def _unwrapped(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for (mapped, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _forbidden(host: str) -> AddressForbidden:
    return AddressForbidden(f"{host} is not a public address, and no setting allows it", cause="address")


class GuardedResolver(AbstractResolver):
    """Resolves names, and refuses those that lead to an address which the policy does not allow."""

    def __init__(self, policy: AddressPolicy, resolver: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        if not self._policy.names(host) and not all(self._policy.allows(result["host"]) for result in results):
            raise _forbidden(host)
        return results

    async def close(self) -> None:
        await self._resolver.close()
