"""``/export`` and ``/import``: the whole configuration as one document, to keep, to compare, to bring elsewhere."""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.configuration_document import MEDIA_TYPE, document_of, parse, render
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.importing import Import, ImportReport
from interlock_gateway.rest.seen import Seen

_EXAMPLE = """\
version: 1
gateways:
  - name: notes
    url: https://notes.example.com/mcp
servers:
  - name: desk
    associated_tools: [notes/add_note]
"""
_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}
_YAML: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the configuration",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}},
    }
}

router = APIRouter(tags=["configuration"])


@router.get("/export", responses=_YAML, summary="Write down what the caller may configure, without secrets")
async def export(request: Request, actor: CurrentActor, deps: Deps) -> Response:
    """YAML, or JSON where that is asked for. Tunnels (`reverse`) are not in it: they come by themselves."""
    seen = Seen(actor, deps.catalog)
    upstreams = seen.upstreams()
    mine = [each for each in upstreams if seen.may_configure(each) and each.transport != "reverse"]
    servers = [each for each in seen.servers() if seen.may_configure(each)]
    document = document_of(mine, servers, {each.id: each.name for each in upstreams})
    if "application/json" in request.headers.get("accept", ""):
        return answer(document)
    text = await asyncio.to_thread(render, document)
    return Response(text, headers={"Cache-Control": "no-store"}, media_type=MEDIA_TYPE)


@router.post("/import", responses=says(ImportReport), summary="Bring the configuration to what a document says",
             openapi_extra=_DOCUMENT)  # fmt: skip
async def import_(
    request: Request,
    actor: CurrentActor,
    deps: Deps,
    dry_run: Annotated[bool, Query(description="only say what would happen")] = False,  # noqa: FBT002 - a query
    replace_secrets: Annotated[  # noqa: FBT002
        bool, Query(description="hand on secrets of the document also where nothing else differs")
    ] = False,
) -> Response:
    """What is in the document is created or updated; what is not in it stays. A second run changes nothing."""
    gateways, servers = await asyncio.to_thread(parse, await request.body())
    task = Import(actor, deps.bus, deps.catalog, dry_run, replace_secrets)
    return answer(msgspec.to_builtins(await task.run(gateways, servers)))
