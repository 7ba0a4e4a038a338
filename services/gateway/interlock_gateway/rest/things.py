"""``/tools``, ``/resources``, ``/prompts``: what the upstreams offer, out of the catalog's mirror, and its standing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from interlock_common.messages import subjects
from interlock_common.messages.catalog import AcceptDefinition, DefinitionKind, Standing
from interlock_common.messages.common import Empty
from interlock_gateway.rest import catalog_answers
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.bodies_of_catalog import AcceptBody
from interlock_gateway.rest.catalog_answers import (
    PromptAnswer,
    PromptShown,
    ResourceAnswer,
    ResourceShown,
    ToolAnswer,
    ToolShown,
    shown,
)
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.paging import Cursor, LongLimit, next_page
from interlock_gateway.rest.seen import Filter, Seen

_RESOURCES: tuple[DefinitionKind, ...] = ("resource", "template")

router = APIRouter()


def _filter(
    gateway: Annotated[str | None, Query(max_length=200, description="of this gateway: its id, slug or name")] = None,
    name: Annotated[str | None, Query(max_length=200, description="with this text in their name")] = None,
    standing: Annotated[Standing | None, Query(description="of this standing")] = None,
) -> Filter:
    return Filter(gateway, name, standing)


type Wanted = Annotated[Filter, Depends(_filter)]


@router.get("/tools", tags=["tools"], responses=says(ToolAnswer, many=True), summary="List tools, by gateway and name")
async def tools(
    request: Request, actor: CurrentActor, deps: Deps, wanted: Wanted, cursor: Cursor = None, limit: LongLimit = 100
) -> Response:
    page, following = Seen(actor, deps.catalog).page(("tool",), wanted, cursor, limit)
    return answer([catalog_answers.tool(each) for each in page], headers=next_page(request, following))


@router.get("/tools/{tool_id:path}", tags=["tools"], responses=says(ToolShown), summary="Show a tool")
async def tool(tool_id: str, actor: CurrentActor, deps: Deps) -> Response:
    found = Seen(actor, deps.catalog).one(("tool",), tool_id)
    return answer(shown(ToolShown, catalog_answers.tool(found), found))


@router.post("/tools/{tool_id:path}/accept", tags=["tools"], responses=says(Status),
             summary="Accept a changed tool")  # fmt: skip
async def accept_tool(tool_id: str, body: AcceptBody, actor: CurrentActor, deps: Deps) -> Response:
    """From now on the definition with this digest counts: it is what was looked at."""
    return await _accept(deps, actor, ("tool",), tool_id, body)


@router.get("/resources", tags=["resources"], responses=says(ResourceAnswer, many=True),
            summary="List resources and templates, by gateway and URI")  # fmt: skip
async def resources(
    request: Request, actor: CurrentActor, deps: Deps, wanted: Wanted, cursor: Cursor = None, limit: LongLimit = 100
) -> Response:
    page, following = Seen(actor, deps.catalog).page(_RESOURCES, wanted, cursor, limit)
    return answer([catalog_answers.resource(each) for each in page], headers=next_page(request, following))


@router.get("/resources/{resource_id:path}", tags=["resources"], responses=says(ResourceShown),
            summary="Show a resource or a template")  # fmt: skip
async def resource(resource_id: str, actor: CurrentActor, deps: Deps) -> Response:
    found = Seen(actor, deps.catalog).one(_RESOURCES, resource_id)
    return answer(shown(ResourceShown, catalog_answers.resource(found), found))


@router.post("/resources/{resource_id:path}/accept", tags=["resources"], responses=says(Status),
             summary="Accept a changed resource or template")  # fmt: skip
async def accept_resource(resource_id: str, body: AcceptBody, actor: CurrentActor, deps: Deps) -> Response:
    return await _accept(deps, actor, _RESOURCES, resource_id, body)


@router.get("/prompts", tags=["prompts"], responses=says(PromptAnswer, many=True),
            summary="List prompts, by gateway and name")  # fmt: skip
async def prompts(
    request: Request, actor: CurrentActor, deps: Deps, wanted: Wanted, cursor: Cursor = None, limit: LongLimit = 100
) -> Response:
    page, following = Seen(actor, deps.catalog).page(("prompt",), wanted, cursor, limit)
    return answer([catalog_answers.prompt(each) for each in page], headers=next_page(request, following))


@router.get("/prompts/{prompt_id:path}", tags=["prompts"], responses=says(PromptShown), summary="Show a prompt")
async def prompt(prompt_id: str, actor: CurrentActor, deps: Deps) -> Response:
    found = Seen(actor, deps.catalog).one(("prompt",), prompt_id)
    return answer(shown(PromptShown, catalog_answers.prompt(found), found))


@router.post("/prompts/{prompt_id:path}/accept", tags=["prompts"], responses=says(Status),
             summary="Accept a changed prompt")  # fmt: skip
async def accept_prompt(prompt_id: str, body: AcceptBody, actor: CurrentActor, deps: Deps) -> Response:
    return await _accept(deps, actor, ("prompt",), prompt_id, body)


async def _accept(
    deps: Deps, actor: CurrentActor, kinds: tuple[DefinitionKind, ...], identifier: str, body: AcceptBody
) -> Response:
    found = Seen(actor, deps.catalog).one(kinds, identifier)
    request = AcceptDefinition(actor, found.upstream.id, found.kind, found.definition.name, body.digest)
    await deps.bus.request(subjects.CATALOG_DEFINITION_ACCEPT, request, Empty)
    return answer(Status("accepted"))
