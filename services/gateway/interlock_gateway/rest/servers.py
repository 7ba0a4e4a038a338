"""``/servers``: virtual servers, which the catalog owns."""

from fastapi import APIRouter, Request, Response

from interlock_common.messages import subjects
from interlock_common.messages.catalog import ServerList, UpdateServer, VirtualServer
from interlock_common.messages.common import ById, Empty, Page
from interlock_gateway.rest import catalog_answers
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.bodies_of_catalog import ServerBody
from interlock_gateway.rest.catalog_answers import PromptAnswer, ResourceAnswer, Server, ToolAnswer, server
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.paging import Cursor, Limit, LongLimit, next_page
from interlock_gateway.rest.seen import Seen, offered

router = APIRouter(prefix="/servers", tags=["servers"])


@router.post("", status_code=201, responses=says(Server, 201), summary="Compose a virtual server")
async def compose(body: ServerBody, actor: CurrentActor, deps: Deps) -> Response:
    made = await deps.bus.request(subjects.CATALOG_SERVER_CREATE, body.request(actor), VirtualServer)
    return answer(server(made), 201, {"Location": f"/servers/{made.id}"})


@router.get("", responses=says(Server, many=True), summary="List virtual servers")
async def list_all(
    request: Request, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    page = await deps.bus.request(subjects.CATALOG_SERVER_LIST, Page(actor, cursor, limit), ServerList)
    seen = Seen(actor, deps.catalog)
    found = [server(seen.without_hidden(each)) for each in page.servers]
    return answer(found, headers=next_page(request, page.next_cursor))


@router.get("/{server_id}", responses=says(Server), summary="Show a virtual server")
async def show(server_id: str, actor: CurrentActor, deps: Deps) -> Response:
    """Without what it has of gateways that the caller does not see, unless it is the caller's to change."""
    found = await deps.bus.request(subjects.CATALOG_SERVER_GET, ById(actor, server_id), VirtualServer)
    return answer(server(Seen(actor, deps.catalog).without_hidden(found)))


@router.put("/{server_id}", responses=says(Server), summary="Compose a virtual server anew, in full")
async def replace(server_id: str, body: ServerBody, actor: CurrentActor, deps: Deps) -> Response:
    request = UpdateServer(server_id, body.request(actor))
    return answer(server(await deps.bus.request(subjects.CATALOG_SERVER_UPDATE, request, VirtualServer)))


@router.delete("/{server_id}", responses=says(Status), summary="Delete a virtual server")
async def delete(server_id: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.CATALOG_SERVER_DELETE, ById(actor, server_id), Empty)
    return answer(Status("deleted"))


@router.get("/{server_id}/tools", responses=says(ToolAnswer, many=True), summary="List the tools it offers")
async def tools(
    request: Request, server_id: str, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: LongLimit = 100
) -> Response:
    """Under the names it gives them; what is quarantined is not offered."""
    found, following = Seen(actor, deps.catalog).offered_by(server_id, ("tool",), cursor, limit)
    shown = [catalog_answers.tool(offered(route), route.public_name) for route in found]
    return answer(shown, headers=next_page(request, following))


@router.get("/{server_id}/resources", responses=says(ResourceAnswer, many=True), summary="List the resources it offers")
async def resources(
    request: Request, server_id: str, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: LongLimit = 100
) -> Response:
    """Resources and resource templates, by the URIs it gives them."""
    found, following = Seen(actor, deps.catalog).offered_by(server_id, ("resource", "template"), cursor, limit)
    shown = [catalog_answers.resource(offered(route), route.public_name) for route in found]
    return answer(shown, headers=next_page(request, following))


@router.get("/{server_id}/prompts", responses=says(PromptAnswer, many=True), summary="List the prompts it offers")
async def prompts(
    request: Request, server_id: str, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: LongLimit = 100
) -> Response:
    found, following = Seen(actor, deps.catalog).offered_by(server_id, ("prompt",), cursor, limit)
    shown = [catalog_answers.prompt(offered(route), route.public_name) for route in found]
    return answer(shown, headers=next_page(request, following))
