"""``/grants``: what users let the gateway use on their behalf. Tokens are never shown."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from interlock_common.messages import subjects
from interlock_common.messages.common import Page
from interlock_common.messages.grants import NOBODY, GrantList, GrantSummary, RevokeGrant
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.paging import Cursor, Limit, next_page

router = APIRouter(prefix="/grants", tags=["grants"])


@router.get("", responses=says(GrantSummary, many=True), summary="List own grants; an administrator sees everybody's")
async def list_all(
    request: Request, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    page = await deps.bus.request(subjects.CATALOG_GRANT_LIST, Page(actor, cursor, limit), GrantList)
    return answer(page.grants, headers=next_page(request, page.next_cursor))


@router.delete("/{gateway_id}", responses=says(Status), summary="Revoke a grant, here and at its authorization server")
async def revoke(
    gateway_id: str,
    actor: CurrentActor,
    deps: Deps,
    principal: Annotated[
        str | None, Query(min_length=1, max_length=320, description="whose, for an administrator")
    ] = None,
) -> Response:
    whose = principal if principal not in {None, NOBODY} else actor.principal
    await deps.consents.revoke(RevokeGrant(actor, gateway_id, whose or actor.principal))
    return answer(Status("revoked"))
