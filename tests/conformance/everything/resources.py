"""Resources: text, bytes, a template, one that changes, and one that asks before it is read."""

import json
import re

from mcp import MCPError
from mcp_types import (
    INVALID_PARAMS,
    Annotations,
    BlobResourceContents,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from everything.exchange import Exchange
from everything.interactive import form, said
from everything.live import WATCHED
from everything.paging import filled
from everything.samples import ICON, PNG
from everything.world import World, is_modern

_NOT_FOUND_LEGACY = -32002
_TEXT, _BINARY, _ASKING = "test://static-text", "test://static-binary", "test://input-required"
_EXTRA = "test://extra-resource"
_TEMPLATE = re.compile(r"test://template/([^/]+)/data")
_FILLER = re.compile(r"test://filler/\d+(/[^/]+)?")

_RESOURCES = (
    Resource(
        name="static text",
        uri=_TEXT,
        title="Static text",
        description="A text that never changes",
        mime_type="text/plain",
        size=48,
        annotations=Annotations(audience=["user", "assistant"], priority=0.8, last_modified="2026-07-28T00:00:00Z"),
        icons=[ICON],
        _meta={"example.com/origin": "fixture"},
    ),
    Resource(name="static binary", uri=_BINARY, description="A picture that never changes", mime_type="image/png"),
    Resource(name="watched", uri=WATCHED, description="Changes on demand", mime_type="text/plain"),
    Resource(name="asking", uri=_ASKING, description="Asks who reads it", mime_type="text/plain"),
)
_TEMPLATES = (
    ResourceTemplate(
        name="data of an id",
        uri_template="test://template/{id}/data",
        title="Data",
        description="The data that belongs to an id",
        mime_type="application/json",
        icons=[ICON],
        _meta={"example.com/origin": "fixture"},
    ),
)


def resources(world: World) -> list[Resource]:
    """What resources/list has at this moment."""
    extra = [Resource(name="extra", uri=_EXTRA, mime_type="text/plain")] if world.extra_resource else []
    return filled([*_RESOURCES, *extra], world.pages, lambda n: Resource(name=f"filler {n}", uri=f"test://filler/{n}"))


def templates(world: World) -> list[ResourceTemplate]:
    """What resources/templates/list has."""
    return filled(
        _TEMPLATES,
        world.pages,
        lambda n: ResourceTemplate(name=f"filler {n}", uri_template=f"test://filler/{n}/{{id}}"),
    )


async def read(exchange: Exchange, uri: str) -> ReadResourceResult:
    """The content of a resource; raises MCPError where there is none."""
    if uri == _BINARY:
        return ReadResourceResult(contents=[BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)])
    if uri == _ASKING:
        answers = await exchange.ask({"reader": form("Who reads this?", {"name": {"type": "string"}}, "name")})
        return _text(uri, f"Read by {said(answers['reader'])}")
    if uri == _TEXT:
        return _text(uri, "This is the content of the static text resource.", {"example.com/line": 1})
    if uri == WATCHED:
        return _text(uri, exchange.world.watched_text)
    if found := _TEMPLATE.fullmatch(uri):
        data = {"id": found[1], "templateTest": True, "data": f"Data for ID: {found[1]}"}
        contents = TextResourceContents(uri=uri, mime_type="application/json", text=json.dumps(data))
        return ReadResourceResult(contents=[contents])
    if _FILLER.fullmatch(uri) or (uri == _EXTRA and exchange.world.extra_resource):
        return _text(uri, f"This is {uri}.")
    code = INVALID_PARAMS if is_modern(exchange.context) else _NOT_FOUND_LEGACY
    raise MCPError(code, "Resource not found", {"uri": uri})


def _text(uri: str, content: str, meta: dict[str, object] | None = None) -> ReadResourceResult:
    contents = TextResourceContents(uri=uri, mime_type="text/plain", text=content, _meta=meta)
    return ReadResourceResult(contents=[contents])
