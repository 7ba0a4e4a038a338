"""What the catalog answers and publishes: upstreams, their tools, virtual servers."""

from typing import Literal

import msgspec

from interlock_common.messages.common import Actor

Era = Literal["modern", "legacy"]
Visibility = Literal["public", "team", "private"]


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool as its upstream defined it; ``definition`` is the JSON object as it came over the wire."""

    name: str
    definition: msgspec.Raw
    digest: str


class Upstream(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="upstream"):
    """An MCP server behind the gateway; bucket ``catalog``, key ``upstream.<id>``.

    ``slug`` prefixes its tools where names are prefixed. ``owner`` is a principal. ``team`` is set when the
    visibility is ``team``.
    """

    id: str
    name: str
    slug: str
    url: str
    era: Era
    protocol_version: str
    owner: str
    visibility: Visibility = "public"
    team: str | None = None
    reachable: bool = True
    problem: str = ""
    tools: tuple[Tool, ...] = ()
    description: str = ""


class VirtualServer(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="server"):
    """A chosen set of tools under ``/servers/{id}/mcp``; bucket ``catalog``, key ``server.<id>``.

    ``tools`` are ``<upstream id>/<original name>``; ``upstreams`` take in all tools of an upstream.
    ``prefix`` says how public names are made: as upstream has them, or ``<slug>-<name>``.
    """

    id: str
    name: str
    owner: str
    tools: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    prefix: Literal["none", "always"] = "none"
    visibility: Visibility = "public"
    team: str | None = None
    description: str = ""


type CatalogItem = Upstream | VirtualServer
"""A value of bucket ``catalog``; its ``kind`` says which."""


class CreateUpstream(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.upstream.create``: register, discover, publish."""

    actor: Actor
    name: str
    url: str
    visibility: Visibility = "public"
    team: str | None = None
    era: Era | None = None
    description: str = ""


class CreateServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.server.create``."""

    actor: Actor
    name: str
    id: str | None = None
    tools: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    prefix: Literal["none", "always"] = "none"
    visibility: Visibility = "public"
    team: str | None = None
    description: str = ""


class UpstreamList(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page without the tools, so that it fits a message; ``next_cursor`` asks for the page after it."""

    upstreams: tuple[Upstream, ...]
    next_cursor: str | None = None


class ServerList(msgspec.Struct, frozen=True, omit_defaults=True):
    servers: tuple[VirtualServer, ...]
    next_cursor: str | None = None


class UpstreamChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """Event ``evt.catalog.upstream.changed``."""

    id: str
    change: Literal["created", "refreshed", "deleted"]
    tools: int = 0


def upstream_key(upstream_id: str) -> str:
    return f"upstream.{upstream_id}"


def server_key(server_id: str) -> str:
    return f"server.{server_id}"
