"""``/users`` and registration, which auth owns."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from interlock_common.messages import subjects
from interlock_common.messages.common import Empty, Page
from interlock_common.messages.identities import (
    AssignRole,
    ByName,
    ChangePassword,
    CreateUser,
    NewUser,
    PasswordReset,
    Register,
    ResetPassword,
    UpdateUser,
    User,
    UserList,
)
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.bodies_of_identities import (
    AssignmentBody,
    NameChange,
    OwnPasswordBody,
    RegistrationBody,
    ResetBody,
    UserBody,
    UserChange,
)
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.paging import Cursor, Limit, next_page

router = APIRouter(tags=["users"])


@router.post(
    "/auth/register", status_code=202, responses=says(Status, 202), summary="Register, where the deployment allows it",
    openapi_extra={"security": list[object]()},
)  # fmt: skip
async def register(body: RegistrationBody, deps: Deps) -> Response:
    """Answered alike whether there is such a user already or not."""
    request = Register(body.email, body.password, body.full_name)
    await deps.bus.request(subjects.AUTH_USER_REGISTER, request, Empty)
    return answer(Status("accepted"), 202)


@router.post("/users", status_code=201, responses=says(NewUser, 201), summary="Create a user or a service account")
async def create(body: UserBody, actor: CurrentActor, deps: Deps) -> Response:
    """The one-time password, where one was made, is shown only here."""
    request = CreateUser(
        actor, body.name, body.kind, body.password, body.full_name, body.is_admin, body.must_change_password
    )
    return answer(await deps.bus.request(subjects.AUTH_USER_CREATE, request, NewUser), 201)


@router.get("/users", responses=says(User, many=True), summary="List users and service accounts")
async def list_all(
    request: Request, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    page = await deps.bus.request(subjects.AUTH_USER_LIST, Page(actor, cursor, limit), UserList)
    return answer(page.users, headers=next_page(request, page.next_cursor))


@router.get("/users/me", responses=says(User), summary="Show oneself")
async def show_me(actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUTH_USER_GET, ByName(actor, actor.principal), User))


@router.patch("/users/me", responses=says(User), summary="Change one's full name")
async def change_me(body: NameChange, actor: CurrentActor, deps: Deps) -> Response:
    request = UpdateUser(actor, actor.principal, full_name=body.full_name)
    return answer(await deps.bus.request(subjects.AUTH_USER_UPDATE, request, User))


@router.post("/users/me/password", responses=says(Status), summary="Change one's password")
async def change_password(body: OwnPasswordBody, actor: CurrentActor, deps: Deps) -> Response:
    request = ChangePassword(actor, body.current_password, body.new_password)
    await deps.bus.request(subjects.AUTH_PASSWORD_CHANGE, request, Empty)
    return answer(Status("changed"))


@router.get("/users/{name}", responses=says(User), summary="Show a user")
async def show(name: str, actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUTH_USER_GET, ByName(actor, name), User))


@router.patch("/users/{name}", responses=says(User), summary="Change a user; an inactive one is refused at once")
async def update(name: str, body: UserChange, actor: CurrentActor, deps: Deps) -> Response:
    request = UpdateUser(actor, name, body.active, body.is_admin, body.full_name)
    return answer(await deps.bus.request(subjects.AUTH_USER_UPDATE, request, User))


@router.delete("/users/{name}", responses=says(Status), summary="Delete a user, whose name is not given again")
async def delete(name: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.AUTH_USER_DELETE, ByName(actor, name), Empty)
    return answer(Status("deleted"))


@router.post("/users/{name}/password", responses=says(PasswordReset), summary="Set a password that must be changed")
async def reset_password(name: str, body: ResetBody, actor: CurrentActor, deps: Deps) -> Response:
    """The one-time password, where one was made, is shown only here."""
    request = ResetPassword(actor, name, body.new_password)
    return answer(await deps.bus.request(subjects.AUTH_PASSWORD_RESET, request, PasswordReset))


@router.get("/users/{name}/roles", responses=says(User), summary="Show the roles of a user, and what they come to")
async def roles(name: str, actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUTH_USER_GET, ByName(actor, name), User))


@router.post("/users/{name}/roles", responses=says(User), summary="Give a role, for the platform or for one team")
async def assign(name: str, body: AssignmentBody, actor: CurrentActor, deps: Deps) -> Response:
    request = AssignRole(actor, name, body.role, body.team)
    return answer(await deps.bus.request(subjects.AUTH_ROLE_ASSIGN, request, User))


@router.delete("/users/{name}/roles/{role}", responses=says(User), summary="Withdraw a role")
async def withdraw(
    name: str,
    role: str,
    actor: CurrentActor,
    deps: Deps,
    team: Annotated[str | None, Query(min_length=1, max_length=100, description="of which team")] = None,
) -> Response:
    request = AssignRole(actor, name, role, team)
    return answer(await deps.bus.request(subjects.AUTH_ROLE_WITHDRAW, request, User))
