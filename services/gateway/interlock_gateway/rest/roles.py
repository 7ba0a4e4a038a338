"""``/roles``, which auth owns."""

from fastapi import APIRouter, Response

from interlock_common.messages import subjects
from interlock_common.messages.common import Empty, Page
from interlock_common.messages.identities import ByName, Role, RoleList, SetRole
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.bodies_of_identities import NewRoleBody, RoleBody
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says

router = APIRouter(prefix="/roles", tags=["roles"])


@router.get("", responses=says(Role, many=True), summary="List roles, the built-in ones first")
async def list_all(actor: CurrentActor, deps: Deps) -> Response:
    return answer((await deps.bus.request(subjects.AUTH_ROLE_LIST, Page(actor), RoleList)).roles)


@router.post("", status_code=201, responses=says(Role, 201), summary="Make a role")
async def create(body: NewRoleBody, actor: CurrentActor, deps: Deps) -> Response:
    request = SetRole(actor, body.name, body.permissions, body.description)
    made = await deps.bus.request(subjects.AUTH_ROLE_CREATE, request, Role)
    return answer(made, 201, {"Location": f"/roles/{made.name}"})


@router.put("/{name}", responses=says(Role), summary="Change a role, in full, for all who have it")
async def replace(name: str, body: RoleBody, actor: CurrentActor, deps: Deps) -> Response:
    request = SetRole(actor, name, body.permissions, body.description)
    return answer(await deps.bus.request(subjects.AUTH_ROLE_UPDATE, request, Role))


@router.delete("/{name}", responses=says(Status), summary="Delete a role that nobody has")
async def delete(name: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.AUTH_ROLE_DELETE, ByName(actor, name), Empty)
    return answer(Status("deleted"))
