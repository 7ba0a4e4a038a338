"""The guard of addresses, as upstreams are reached through it."""

from aiohttp import TCPConnector

from interlock_common.addresses import AddressForbidden, AddressPolicy, GuardedResolver, is_public

__all__ = ["AddressForbidden", "AddressPolicy", "GuardedResolver", "is_public", "upstream_connector"]


def upstream_connector(
    *, allow_private: bool = False, limit: int = 100, limit_per_host: int = 0, policy: AddressPolicy | None = None
) -> TCPConnector:
    """The connector for everything that goes to an upstream."""
    resolver = GuardedResolver(policy or AddressPolicy(allow_private=allow_private))
    return TCPConnector(limit=limit, limit_per_host=limit_per_host, resolver=resolver)
