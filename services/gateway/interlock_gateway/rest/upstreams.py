"""``/gateways``: the MCP servers behind the gateway, which the catalog owns."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from interlock_common.messages import subjects
from interlock_common.messages.catalog import CreateUpstream, Upstream, UpstreamList, upstream_key
from interlock_common.messages.common import ById, Empty, Page
from interlock_gateway.rest.answers import Gateway, Status, answer, gateway, next_page
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import GatewayBody

DISCOVERY_SECONDS = 32.0
"""Longer than the catalog may take to find out about an upstream (DISCOVERY_TIMEOUT, at most 30 s)."""

router = APIRouter(prefix="/gateways", tags=["gateways"])


@router.post("", status_code=201, responses=says(Gateway, 201), summary="Register an upstream MCP server")
async def register(body: GatewayBody, actor: CurrentActor, deps: Deps) -> Response:
    request = CreateUpstream(
        actor=actor, name=body.name, url=body.url, visibility=body.visibility, team=body.team_id, era=body.era,
        description=body.description or "",
    )  # fmt: skip
    made = await deps.bus.request(subjects.CATALOG_UPSTREAM_CREATE, request, Upstream, timeout=DISCOVERY_SECONDS)
    return answer(gateway(made, len(made.tools)), 201, {"Location": f"/gateways/{made.id}"})


@router.get("", responses=says(Gateway, many=True), summary="List upstream MCP servers")
async def list_all(
    actor: CurrentActor,
    deps: Deps,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Response:
    page = await deps.bus.request(subjects.CATALOG_UPSTREAM_LIST, Page(actor, cursor, limit), UpstreamList)
    found = [gateway(each, _tool_count(deps, each.id)) for each in page.upstreams]
    return answer(found, headers=next_page("/gateways", page.next_cursor))


@router.get("/{gateway_id}", responses=says(Gateway), summary="Show an upstream MCP server")
async def show(gateway_id: str, actor: CurrentActor, deps: Deps) -> Response:
    found = await deps.bus.request(subjects.CATALOG_UPSTREAM_GET, ById(actor, gateway_id), Upstream)
    return answer(gateway(found, len(found.tools)))


@router.delete("/{gateway_id}", responses=says(Status), summary="Delete an upstream MCP server")
async def delete(gateway_id: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.CATALOG_UPSTREAM_DELETE, ById(actor, gateway_id), Empty)
    return answer(Status("deleted"))


@router.post("/{gateway_id}/refresh", responses=says(Gateway), summary="Look at an upstream MCP server again")
async def refresh(gateway_id: str, actor: CurrentActor, deps: Deps) -> Response:
    found = await deps.bus.request(
        subjects.CATALOG_UPSTREAM_REFRESH, ById(actor, gateway_id), Upstream, timeout=DISCOVERY_SECONDS
    )
    return answer(gateway(found, len(found.tools)))


def _tool_count(deps: Deps, upstream_id: str) -> int:
    known = deps.catalog.items.get(upstream_key(upstream_id))
    return len(known.tools) if isinstance(known, Upstream) else 0
