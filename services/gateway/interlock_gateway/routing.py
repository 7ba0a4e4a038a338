"""Where a public tool name leads: the catalog's mirror, turned into maps that a call looks up once.

``/mcp`` offers every upstream's tools as ``<slug>-<name>``; a virtual server offers its chosen tools, under
their own names unless it prefixes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from interlock_common.errors import NotFound
from interlock_common.messages.catalog import CatalogItem, Definition, Upstream, VirtualServer, Visibility
from interlock_gateway.authentication import Caller

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Route:
    """One public name: the upstream behind it, the tool there, and its definition under the public name."""

    public_name: str
    upstream: Upstream
    tool: Definition
    definition: bytes


@dataclass(frozen=True, slots=True)
class Offer:
    """What one MCP endpoint offers, before visibility: its routes by public name, in a stable order."""

    server: VirtualServer | None
    routes: Mapping[str, Route]


class Catalog:
    """The routes of the deployment, rebuilt from the bucket's mirror as it changes."""

    def __init__(self) -> None:
        self.upstreams: dict[str, Upstream] = {}
        self.servers: dict[str, VirtualServer] = {}
        self._offers: dict[str | None, Offer] = {}

    def change(self, key: str, item: CatalogItem | None) -> None:
        """Take one change of the bucket."""
        kind, _, identifier = key.partition(".")
        if isinstance(item, Upstream):
            self.upstreams[identifier] = item
        elif isinstance(item, VirtualServer):
            self.servers[identifier] = item
        elif kind == "upstream":  # by what the key says: a server may have been given the id of an upstream
            self.upstreams.pop(identifier, None)
        else:
            self.servers.pop(identifier, None)
        self._offers.clear()

    def offer(self, server_id: str | None) -> Offer:
        """What an endpoint offers; raises NotFound for a virtual server that does not exist."""
        offer = self._offers.get(server_id)
        if offer is None:
            offer = self._offers[server_id] = self._build(server_id)
        return offer

    def _build(self, server_id: str | None) -> Offer:
        if server_id is None:
            return Offer(None, self._routes(self._all_tools(), prefix=True))
        server = self.servers.get(server_id)
        if server is None:
            raise NotFound("no such server", server=server_id)
        return Offer(server, self._routes(self._chosen_tools(server), prefix=server.prefix == "always"))

    def _all_tools(self) -> list[tuple[Upstream, Definition]]:
        ordered = sorted(self.upstreams.values(), key=lambda upstream: upstream.slug)
        return [(upstream, tool) for upstream in ordered for tool in upstream.tools]

    def _chosen_tools(self, server: VirtualServer) -> list[tuple[Upstream, Definition]]:
        whole, chosen = set(server.upstreams), set(server.tools)
        return [
            (upstream, tool)
            for upstream, tool in self._all_tools()
            if upstream.id in whole or f"{upstream.id}/{tool.name}" in chosen
        ]

    def _routes(self, tools: list[tuple[Upstream, Definition]], *, prefix: bool) -> dict[str, Route]:
        routes: dict[str, Route] = {}
        for upstream, tool in tools:
            prefixed = f"{upstream.slug}-{tool.name}"
            name = prefixed if prefix or tool.name in routes else tool.name
            if name not in routes:  # never last-writer-wins
                routes[name] = Route(name, upstream, tool, _public_definition(tool, name))
        return routes


def visible(caller: Caller, visibility: Visibility, team: str | None, owner: str) -> bool:
    """Whether the caller may know of an object."""
    if caller.unrestricted or visibility == "public":
        return True
    if visibility == "team":
        return team is not None and team in caller.teams
    return owner == caller.principal


def _public_definition(tool: Definition, name: str) -> bytes:
    """The definition as its upstream wrote it, byte for byte, with another name where it has one."""
    if name == tool.name:
        return bytes(tool.definition)
    members = _members.decode(tool.definition)
    members["name"] = msgspec.Raw(_encode(name))
    return _encode(members)
