"""``/servers``: virtual servers, which the catalog owns."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from interlock_common.messages import subjects
from interlock_common.messages.catalog import CreateServer, ServerList, VirtualServer
from interlock_common.messages.common import ById, Empty, Page
from interlock_gateway.rest.answers import Server, Status, answer, next_page, server
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import ServerBody

router = APIRouter(prefix="/servers", tags=["servers"])


@router.post("", status_code=201, responses=says(Server, 201), summary="Compose a virtual server")
async def compose(body: ServerBody, actor: CurrentActor, deps: Deps) -> Response:
    request = CreateServer(
        actor=actor, name=body.name, id=body.id, tools=body.associated_tools, upstreams=body.associated_upstreams,
        prefix=body.prefix, visibility=body.visibility, team=body.team_id, description=body.description or "",
    )  # fmt: skip
    made = await deps.bus.request(subjects.CATALOG_SERVER_CREATE, request, VirtualServer)
    return answer(server(made), 201, {"Location": f"/servers/{made.id}"})


@router.get("", responses=says(Server, many=True), summary="List virtual servers")
async def list_all(
    actor: CurrentActor,
    deps: Deps,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    page = await deps.bus.request(subjects.CATALOG_SERVER_LIST, Page(actor, cursor, limit), ServerList)
    return answer([server(each) for each in page.servers], headers=next_page("/servers", page.next_cursor))


@router.get("/{server_id}", responses=says(Server), summary="Show a virtual server")
async def show(server_id: str, actor: CurrentActor, deps: Deps) -> Response:
    return answer(server(await deps.bus.request(subjects.CATALOG_SERVER_GET, ById(actor, server_id), VirtualServer)))


@router.delete("/{server_id}", responses=says(Status), summary="Delete a virtual server")
async def delete(server_id: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.CATALOG_SERVER_DELETE, ById(actor, server_id), Empty)
    return answer(Status("deleted"))
