"""Where public names lead: the catalog's mirror, turned into offers that a call looks up once.

``/mcp`` offers everything, prefixed; a virtual server offers what it chose, under the names it chose.
"""

from interlock_common.errors import NotFound
from interlock_common.messages.catalog import CatalogItem, Upstream, VirtualServer, Visibility
from interlock_gateway.caller import Caller
from interlock_gateway.errors import ScopeMissing
from interlock_gateway.offers import Offer, Route


class Catalog:
    """The offers of the deployment, kept as the bucket's mirror changes."""

    def __init__(self) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self.servers: dict[str, VirtualServer] = {}
        self._everything = Offer(None, ())
        self._offers: dict[str, Offer] = {}
        self._referred: dict[str, set[str]] = {}

    def change(self, key: str, item: CatalogItem | None) -> None:
        """Take one change of the bucket."""
        kind, _, identifier = key.partition(".")
        if isinstance(item, Upstream):
            self.upstreams[identifier] = item
            self._everything.put(item)
            self._changed(identifier, item)
        elif isinstance(item, VirtualServer):
            self.servers[identifier] = item
            self._offers.pop(identifier, None)
        elif kind == "upstream":  # by what the key says: a server may have been given the id of an upstream
            self.upstreams.pop(identifier, None)
            self._everything.remove(identifier)
            self._changed(identifier, None)
        else:
            self.servers.pop(identifier, None)
            self._offers.pop(identifier, None)

    def offer(self, server_id: str | None) -> Offer:
        """What an endpoint offers; raises NotFound for a virtual server that does not exist."""
        if server_id is None:
            return self._everything
        offer = self._offers.get(server_id)
        if offer is None:
            server = self.servers.get(server_id)
            if server is None:
                raise NotFound("no such server", server=server_id)
            concerned = self._referred[server_id] = referred(server)
            present = (self.upstreams[each] for each in concerned if each in self.upstreams)
            offer = self._offers[server_id] = Offer(server, present)
        return offer

    def audiences(self, server_id: str, base: str) -> frozenset[str]:
        """By which identifiers (RFC 8707) a virtual server is an audience of its own."""
        server = self.servers.get(server_id)
        if server is None:
            return frozenset()
        return frozenset({server.resource or f"{base}/servers/{server_id}/mcp"})

    def advertises_oauth(self, server_id: str | None) -> bool:
        """Whether clients of an endpoint are told where to get a token."""
        server = self.servers.get(server_id) if server_id is not None else None
        return server is None or not server.api_key_only

    def _changed(self, upstream_id: str, upstream: Upstream | None) -> None:
        """Renew the offers that have to do with an upstream: its part, or all where its names are not its own.

        What is to be renewed whole waits until it is asked for.
        """
        for server_id, offer in tuple(self._offers.items()):
            if upstream_id not in self._referred[server_id]:
                continue
            if not offer.always:
                del self._offers[server_id]
            elif upstream is None:
                offer.remove(upstream_id)
            else:
                offer.put(upstream)


def referred(server: VirtualServer) -> set[str]:
    """The ids of the upstreams that a server takes from."""
    references = (*server.tools, *server.resources, *server.templates, *server.prompts)
    return {*server.upstreams, *(reference.partition("/")[0] for reference in references)}


def offer_for(catalog: Catalog, caller: Caller, server_id: str | None) -> Offer:
    """What an endpoint offers to the caller; an endpoint one may not see does not exist."""
    if caller.scopes.server_id is not None and caller.scopes.server_id != server_id:
        raise ScopeMissing("the token is limited to another server")
    offer = catalog.offer(server_id)
    server = offer.server
    if server is not None and not visible(caller, server.visibility, server.team, server.owner):
        raise NotFound("no such server", server=server_id)  # word for word as if it did not exist
    return offer


def may_see(caller: Caller, route: Route) -> bool:
    return may_see_upstream(caller, route.upstream)


def may_see_upstream(caller: Caller, upstream: Upstream) -> bool:
    return visible(caller, upstream.visibility, upstream.team, upstream.owner)


def visible(caller: Caller, visibility: Visibility, team: str | None, owner: str) -> bool:
    """Whether the caller may know of an object; one whose token names no team knows public ones only."""
    if caller.unrestricted or visibility == "public":
        return True
    if visibility == "team":
        return team is not None and team in caller.teams
    return bool(caller.teams) and owner == caller.principal
