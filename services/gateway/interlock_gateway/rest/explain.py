"""``/admin/explain``: why a token does, or does not, get through to a tool."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from interlock_common.errors import PermissionDenied
from interlock_common.messages.explaining import Asked, Explanation
from interlock_gateway.certificates.encodings import MAX_TEXT
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import Body, Name

_NEEDED = "admin.security_audit"

router = APIRouter(tags=["administration"])


class ExplainBody(Body):
    """Whose call of which tool, at which virtual server if at one; from which address, with which certificate."""

    token: Annotated[str, Field(min_length=1, max_length=8192)]
    tool: Annotated[str, Field(min_length=1, max_length=512)]
    server_id: Name | None = None
    address: Annotated[str, Field(max_length=64)] | None = None
    certificate: Annotated[str, Field(max_length=MAX_TEXT, description="PEM")] | None = None


@router.post("/admin/explain", responses=says(Explanation), summary="Say which rule decides about a call, and why")
async def explain(body: ExplainBody, actor: CurrentActor, deps: Deps) -> Response:
    """Needs the permission admin.security_audit; nothing is called, and nothing counted."""
    if not actor.may(_NEEDED):
        raise PermissionDenied(f"this needs the permission {_NEEDED}", permission=_NEEDED)
    return answer(deps.explain(Asked(body.token, body.tool, body.server_id, body.address, body.certificate)))
