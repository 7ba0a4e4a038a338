"""``/teams`` and ``/invitations``, which auth owns."""

from fastapi import APIRouter, Request, Response

from interlock_common.messages import subjects
from interlock_common.messages.common import ById, Empty, Page
from interlock_common.messages.identities import (
    AcceptInvitation,
    CreateTeam,
    Invitation,
    InvitationList,
    Invite,
    IssuedInvitation,
    Member,
    MemberList,
    RemoveMember,
    SetMember,
    Team,
    TeamList,
    TeamPage,
    UpdateTeam,
    WithdrawInvitation,
)
from interlock_gateway.rest.answers import Status, answer
from interlock_gateway.rest.bodies_of_identities import (
    AcceptanceBody,
    InvitationBody,
    MemberBody,
    TeamBody,
    TeamChange,
)
from interlock_gateway.rest.dependencies import CurrentActor, Deps
from interlock_gateway.rest.documents import says
from interlock_gateway.rest.paging import Cursor, Limit, next_page

router = APIRouter(tags=["teams"])


@router.post("/teams", status_code=201, responses=says(Team, 201), summary="Make a team, and own it")
async def create(body: TeamBody, actor: CurrentActor, deps: Deps) -> Response:
    request = CreateTeam(actor, body.name, body.description)
    made = await deps.bus.request(subjects.AUTH_TEAM_CREATE, request, Team)
    return answer(made, 201, {"Location": f"/teams/{made.id}"})


@router.get("/teams", responses=says(Team, many=True), summary="List one's teams; an administrator sees all")
async def list_all(
    request: Request, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    page = await deps.bus.request(subjects.AUTH_TEAM_LIST, Page(actor, cursor, limit), TeamList)
    return answer(page.teams, headers=next_page(request, page.next_cursor))


@router.get("/teams/{team_id}", responses=says(Team), summary="Show a team")
async def show(team_id: str, actor: CurrentActor, deps: Deps) -> Response:
    return answer(await deps.bus.request(subjects.AUTH_TEAM_GET, ById(actor, team_id), Team))


@router.patch("/teams/{team_id}", responses=says(Team), summary="Change what a team is called")
async def update(team_id: str, body: TeamChange, actor: CurrentActor, deps: Deps) -> Response:
    request = UpdateTeam(actor, team_id, body.name, body.description)
    return answer(await deps.bus.request(subjects.AUTH_TEAM_UPDATE, request, Team))


@router.delete("/teams/{team_id}", responses=says(Status), summary="Delete a team")
async def delete(team_id: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.AUTH_TEAM_DELETE, ById(actor, team_id), Empty)
    return answer(Status("deleted"))


@router.get("/teams/{team_id}/members", responses=says(Member, many=True), summary="List members")
async def members(
    request: Request, team_id: str, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    asked = TeamPage(actor, team_id, cursor, limit)
    page = await deps.bus.request(subjects.AUTH_MEMBER_LIST, asked, MemberList)
    return answer(page.members, headers=next_page(request, page.next_cursor))


@router.put("/teams/{team_id}/members/{name}", responses=says(Member), summary="Make someone an owner, or a member")
async def set_member(team_id: str, name: str, body: MemberBody, actor: CurrentActor, deps: Deps) -> Response:
    request = SetMember(actor, team_id, name, body.owner)
    return answer(await deps.bus.request(subjects.AUTH_MEMBER_SET, request, Member))


@router.delete("/teams/{team_id}/members/{name}", responses=says(Status), summary="Leave a team, or remove a member")
async def remove_member(team_id: str, name: str, actor: CurrentActor, deps: Deps) -> Response:
    await deps.bus.request(subjects.AUTH_MEMBER_REMOVE, RemoveMember(actor, team_id, name), Empty)
    return answer(Status("removed"))


@router.post(
    "/teams/{team_id}/invitations", status_code=201, responses=says(IssuedInvitation, 201),
    summary="Invite; the token is shown once",
)  # fmt: skip
async def invite(team_id: str, body: InvitationBody, actor: CurrentActor, deps: Deps) -> Response:
    request = Invite(actor, team_id, body.email, body.owner, body.lifetime)
    return answer(await deps.bus.request(subjects.AUTH_INVITATION_CREATE, request, IssuedInvitation), 201)


@router.get("/teams/{team_id}/invitations", responses=says(Invitation, many=True), summary="List invitations that wait")
async def invitations(
    request: Request, team_id: str, actor: CurrentActor, deps: Deps, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    asked = TeamPage(actor, team_id, cursor, limit)
    page = await deps.bus.request(subjects.AUTH_INVITATION_LIST, asked, InvitationList)
    return answer(page.invitations, headers=next_page(request, page.next_cursor))


@router.delete("/teams/{team_id}/invitations/{invitation_id}", responses=says(Status), summary="Withdraw an invitation")
async def withdraw(team_id: str, invitation_id: str, actor: CurrentActor, deps: Deps) -> Response:
    request = WithdrawInvitation(actor, team_id, invitation_id)
    await deps.bus.request(subjects.AUTH_INVITATION_WITHDRAW, request, Empty)
    return answer(Status("withdrawn"))


@router.post("/invitations/accept", responses=says(Team), summary="Join the team of an invitation")
async def accept(body: AcceptanceBody, actor: CurrentActor, deps: Deps) -> Response:
    request = AcceptInvitation(actor, body.token)
    return answer(await deps.bus.request(subjects.AUTH_INVITATION_ACCEPT, request, Team))
