"""Whose request it is, seen from the network: the peer, or the client that a trusted proxy names.

The rule: where the peer is in ``TRUSTED_PROXIES``, the right-most address of ``X-Forwarded-For`` that is not of a
trusted proxy itself. What stands further left was written by whoever asked. From anybody else it says nothing.
"""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from interlock_common.errors import ConfigurationError

_MAX_HOPS = 32
_MAX_ADDRESS = 64
_REMEMBERED = 4096

PROXY = "interlock.proxy"
"""Is in the scope of a request whose connection shows the certificate of a trusted proxy."""

type Networks = tuple[IPv4Network | IPv6Network, ...]
type Headers = list[tuple[bytes, bytes]]


class TrustedProxies:
    """The networks whose word on the client counts; none where ``text`` is empty."""

    def __init__(self, text: str = "") -> None:
        self._networks = _networks(text)
        self.trusts: Callable[[str], bool] = lru_cache(_REMEMBERED)(self._trusts)
        """Whether a peer is a trusted proxy."""
        self.known = bool(self._networks)
        """Whether there is any."""

    def client(self, peer: str, headers: Headers) -> str:
        """The address of the client behind ``peer``, which is a trusted proxy."""
        said = [value for name, value in headers if name == b"x-forwarded-for"]
        hops = b",".join(said).decode("latin-1").split(",") if said else []
        nearest = peer
        for hop in reversed(hops[-_MAX_HOPS:]):
            address = _address(hop)
            if address is None:  # what stands left of it cannot be known either
                break
            nearest = address
            if not self.trusts(address):
                break
        return nearest

    def is_https(self, headers: Headers) -> bool:
        """Whether the nearest proxy got the request over TLS (``X-Forwarded-Proto``)."""
        said = next((value for name, value in reversed(headers) if name == b"x-forwarded-proto"), b"")
        return said.rsplit(b",", 1)[-1].strip().lower() in {b"https", b"wss"}

    def _trusts(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


@lru_cache(_REMEMBERED)
def limited_address(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 that a site of IPv6 has to itself (RFC 6177)."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Network((int(parsed) >> 64 << 64, 64)))


def _address(hop: str) -> str | None:
    """One element of the header, which may carry a port; None for what is no address."""
    text = hop.strip()[:_MAX_ADDRESS]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _networks(text: str) -> Networks:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigurationError(f"TRUSTED_PROXIES is networks, comma-separated: {error}") from None
