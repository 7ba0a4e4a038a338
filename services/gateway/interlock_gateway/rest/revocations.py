"""``/revocations``, which auth owns: more than one token stops counting at once."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from interlock_common.messages import subjects
from interlock_common.messages.revocation import Receipt, Revoke, Selector
from interlock_gateway.rest.answers import answer
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.schemas import Body

router = APIRouter(tags=["tokens"])


class SelectorBody(Body):
    """Which tokens stop counting: one, or all of a user, team, certificate or session, or every one."""

    kind: Literal["token", "user", "team", "certificate", "session", "all"]
    id: Annotated[str, Field(max_length=320, description="jti, e-mail, team, x5t#S256 or sid; nothing for all")] = ""
    before: Annotated[
        int | None, Field(ge=1, description="those issued before, in seconds since the epoch; now if left out")
    ] = None
    reason: Annotated[str, Field(max_length=500)] = ""


@router.post("/revocations", responses=says(Receipt), summary="Revoke tokens by what they have in common, everywhere")
async def revoke(body: SelectorBody, actor: CurrentActor, deps: Deps) -> Response:
    request = Revoke(actor, Selector(body.kind, body.id), body.before, body.reason)
    return answer(await deps.bus.request(subjects.AUTH_REVOCATION_CREATE, request, Receipt))
