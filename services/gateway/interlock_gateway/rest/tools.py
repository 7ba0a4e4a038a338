"""``/tools``: what the actor may see of the catalog's mirror; nobody else has to be asked."""

from fastapi import APIRouter, Response

from interlock_common.messages.catalog import Upstream
from interlock_gateway.catalog.visibility import may_see
from interlock_gateway.rest.answers import ToolAnswer, answer, tool
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says

router = APIRouter(prefix="/tools", tags=["tools"])


@router.get("", responses=says(ToolAnswer, many=True), summary="List all tools, by upstream and name")
async def list_all(actor: CurrentActor, deps: Deps) -> Response:
    seen = (item for item in deps.catalog.items.values() if isinstance(item, Upstream) and may_see(actor, item))
    ordered = sorted(seen, key=lambda upstream: upstream.slug)
    return answer([tool(upstream, each) for upstream in ordered for each in upstream.tools])
