"""What REST answers: every field is always there, whatever the message on the bus leaves out."""

from typing import Any

import msgspec
from fastapi import Response

from interlock_common.messages.catalog import Definition, Era, Upstream, VirtualServer, Visibility


class Gateway(msgspec.Struct, frozen=True):
    """An upstream MCP server; ``problem`` says why it is not reachable."""

    id: str
    name: str
    slug: str
    url: str
    description: str
    visibility: Visibility
    team_id: str | None
    owner: str
    era: Era
    protocol_version: str
    reachable: bool
    problem: str
    tool_count: int


class Server(msgspec.Struct, frozen=True):
    """A virtual server, and the path of its MCP endpoint."""

    id: str
    name: str
    description: str
    visibility: Visibility
    team_id: str | None
    owner: str
    associated_tools: tuple[str, ...]
    associated_upstreams: tuple[str, ...]
    prefix: str
    path: str


class ToolAnswer(msgspec.Struct, frozen=True):
    """A tool: ``name`` as ``/mcp`` offers it, ``original_name`` as its upstream does; schema as it came."""

    id: str
    name: str
    original_name: str
    description: str
    upstream_id: str
    upstream_name: str
    digest: str
    input_schema: msgspec.Raw


class AccessToken(msgspec.Struct, frozen=True):
    """The answer to a login (RFC 6749, section 5.1); ``expires_in`` in seconds."""

    access_token: str
    expires_in: int
    token_type: str = "bearer"  # noqa: S105 - the name of a kind


class Status(msgspec.Struct, frozen=True):
    status: str


class Readiness(msgspec.Struct, frozen=True):
    status: str
    reasons: list[str]


class KeySet(msgspec.Struct, frozen=True):
    """A JWK set (RFC 7517, section 5) of public keys."""

    keys: list[dict[str, Any]]


class ResourceMetadata(msgspec.Struct, frozen=True):
    """Protected resource metadata (RFC 9728, section 2)."""

    resource: str
    bearer_methods_supported: tuple[str, ...] = ("header",)


class _Described(msgspec.Struct, frozen=True, rename="camel"):
    input_schema: msgspec.Raw
    description: msgspec.Raw = msgspec.Raw()  # an upstream may put anything there


def gateway(upstream: Upstream, tool_count: int) -> Gateway:
    return Gateway(
        id=upstream.id, name=upstream.name, slug=upstream.slug, url=upstream.url,
        description=upstream.description, visibility=upstream.visibility, team_id=upstream.team,
        owner=upstream.owner, era=upstream.era, protocol_version=upstream.protocol_version,
        reachable=upstream.reachable, problem=upstream.problem, tool_count=tool_count,
    )  # fmt: skip


def server(virtual: VirtualServer) -> Server:
    return Server(
        id=virtual.id, name=virtual.name, description=virtual.description, visibility=virtual.visibility,
        team_id=virtual.team, owner=virtual.owner, associated_tools=virtual.tools,
        associated_upstreams=virtual.upstreams, prefix=virtual.prefix, path=f"/servers/{virtual.id}/mcp",
    )  # fmt: skip


def tool(upstream: Upstream, known: Definition) -> ToolAnswer:
    described = msgspec.json.decode(known.definition, type=_Described)
    return ToolAnswer(
        id=f"{upstream.id}/{known.name}", name=f"{upstream.slug}-{known.name}", original_name=known.name,
        description=_text(described.description), upstream_id=upstream.id, upstream_name=upstream.name,
        digest=known.digest, input_schema=described.input_schema,
    )  # fmt: skip


def _text(value: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return ""


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``body`` as JSON; answers to a credential are nobody's to keep (RFC 9111, section 5.2.2.5)."""
    caching = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(body), status, caching | (headers or {}), "application/json")


def next_page(path: str, cursor: str | None) -> dict[str, str]:
    """The header that leads to the page after this one (RFC 8288)."""
    return {} if cursor is None else {"Link": f'<{path}?cursor={cursor}>; rel="next"'}
