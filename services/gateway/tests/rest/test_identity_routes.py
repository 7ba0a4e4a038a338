"""``/users``, ``/teams``, ``/roles``: what is asked of auth, and what comes back."""

from typing import Any

import httpx2
import msgspec
import pytest

from interlock_common.errors import Conflict, NotFound, PermissionDenied
from interlock_common.messages import identities, subjects
from interlock_common.messages.common import ById, Empty, Page
from interlock_gateway.rest.testing import ACTOR, FakeWorld

ADA = identities.User(
    "ada@example.com", "person", "Ada", True, False, False, ("red",),
    (identities.Assignment("viewer", "red", inherited=True),), ("tools.read",), {"red": ("tools.execute",)}, 7,
)  # fmt: skip
RED = identities.Team("red", "Red", "", "ada@example.com", 7, 1)
ROLE = identities.Role("caller", "calls", ("tools.execute",))
INVITATION = identities.Invitation("i1", "red", "bob@example.com", False, "ada@example.com", 99)
MEMBER = identities.Member("bob@example.com", owner=True, joined_at=7)

Route = tuple[str, str, Any, str, msgspec.Struct, msgspec.Struct, int]
ROUTES: list[Route] = [
    ("GET", "/users/me", None, subjects.AUTH_USER_GET, identities.ByName(ACTOR, ACTOR.principal), ADA, 200),
    ("PATCH", "/users/me", {"full_name": "A", "is_admin": True}, subjects.AUTH_USER_UPDATE,
     identities.UpdateUser(ACTOR, ACTOR.principal, full_name="A"), ADA, 200),
    ("POST", "/users/me/password", {"current_password": "a", "new_password": "b"}, subjects.AUTH_PASSWORD_CHANGE,
     identities.ChangePassword(ACTOR, "a", "b"), Empty(), 200),
    ("GET", "/users/bob%40example.com", None, subjects.AUTH_USER_GET,
     identities.ByName(ACTOR, "bob@example.com"), ADA, 200),
    ("PATCH", "/users/bob%40example.com", {"active": False}, subjects.AUTH_USER_UPDATE,
     identities.UpdateUser(ACTOR, "bob@example.com", active=False), ADA, 200),
    ("DELETE", "/users/bob%40example.com", None, subjects.AUTH_USER_DELETE,
     identities.ByName(ACTOR, "bob@example.com"), Empty(), 200),
    ("POST", "/users/bob%40example.com/password", {}, subjects.AUTH_PASSWORD_RESET,
     identities.ResetPassword(ACTOR, "bob@example.com"), identities.PasswordReset("made"), 200),
    ("GET", "/users/bob%40example.com/roles", None, subjects.AUTH_USER_GET,
     identities.ByName(ACTOR, "bob@example.com"), ADA, 200),
    ("POST", "/users/bob%40example.com/roles", {"role": "viewer", "team": "red"}, subjects.AUTH_ROLE_ASSIGN,
     identities.AssignRole(ACTOR, "bob@example.com", "viewer", "red"), ADA, 200),
    ("DELETE", "/users/bob%40example.com/roles/viewer?team=red", None, subjects.AUTH_ROLE_WITHDRAW,
     identities.AssignRole(ACTOR, "bob@example.com", "viewer", "red"), ADA, 200),
    ("POST", "/users", {"name": "bot", "kind": "service"}, subjects.AUTH_USER_CREATE,
     identities.CreateUser(ACTOR, "bot", "service"), identities.NewUser(ADA), 201),
    ("POST", "/auth/register", {"email": "e@x.org", "password": "p"}, subjects.AUTH_USER_REGISTER,
     identities.Register("e@x.org", "p"), Empty(), 202),
    ("GET", "/roles", None, subjects.AUTH_ROLE_LIST, Page(ACTOR), identities.RoleList((ROLE,)), 200),
    ("POST", "/roles", {"name": "caller", "permissions": ["tools.*"]}, subjects.AUTH_ROLE_CREATE,
     identities.SetRole(ACTOR, "caller", ("tools.*",)), ROLE, 201),
    ("PUT", "/roles/caller", {"permissions": ["tools.read"]}, subjects.AUTH_ROLE_UPDATE,
     identities.SetRole(ACTOR, "caller", ("tools.read",)), ROLE, 200),
    ("DELETE", "/roles/caller", None, subjects.AUTH_ROLE_DELETE, identities.ByName(ACTOR, "caller"), Empty(), 200),
    ("POST", "/teams", {"name": "Red"}, subjects.AUTH_TEAM_CREATE, identities.CreateTeam(ACTOR, "Red"), RED, 201),
    ("GET", "/teams/red", None, subjects.AUTH_TEAM_GET, ById(ACTOR, "red"), RED, 200),
    ("PATCH", "/teams/red", {"name": "R"}, subjects.AUTH_TEAM_UPDATE,
     identities.UpdateTeam(ACTOR, "red", "R"), RED, 200),
    ("DELETE", "/teams/red", None, subjects.AUTH_TEAM_DELETE, ById(ACTOR, "red"), Empty(), 200),
    ("PUT", "/teams/red/members/bob%40example.com", {"owner": True}, subjects.AUTH_MEMBER_SET,
     identities.SetMember(ACTOR, "red", "bob@example.com", owner=True), MEMBER, 200),
    ("DELETE", "/teams/red/members/bob%40example.com", None, subjects.AUTH_MEMBER_REMOVE,
     identities.RemoveMember(ACTOR, "red", "bob@example.com"), Empty(), 200),
    ("POST", "/teams/red/invitations", {"email": "bob@example.com", "lifetime": 60}, subjects.AUTH_INVITATION_CREATE,
     identities.Invite(ACTOR, "red", "bob@example.com", lifetime=60),
     identities.IssuedInvitation(INVITATION, "once"), 201),
    ("DELETE", "/teams/red/invitations/i1", None, subjects.AUTH_INVITATION_WITHDRAW,
     identities.WithdrawInvitation(ACTOR, "red", "i1"), Empty(), 200),
    ("POST", "/invitations/accept", {"token": "once"}, subjects.AUTH_INVITATION_ACCEPT,
     identities.AcceptInvitation(ACTOR, "once"), RED, 200),
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
async def test_a_route_asks_auth_and_answers_what_it_says(
    client: httpx2.AsyncClient, world: FakeWorld, route: Route
) -> None:
    method, path, body, subject, asked, said, status = route
    world.bus.replies[subject] = said
    answer = await client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert world.bus.asked == [(subject, asked)]
    assert answer.headers["cache-control"] == "no-store"


LISTS = [
    ("/users", subjects.AUTH_USER_LIST, identities.UserList((ADA,), "ada@example.com")),
    ("/teams", subjects.AUTH_TEAM_LIST, identities.TeamList((RED,), "red")),
    ("/teams/red/members", subjects.AUTH_MEMBER_LIST, identities.MemberList((MEMBER,), "bob@example.com")),
    ("/teams/red/invitations", subjects.AUTH_INVITATION_LIST, identities.InvitationList((INVITATION,), "i1")),
]


@pytest.mark.parametrize(("path", "subject", "page"), LISTS)
async def test_a_list_leads_to_its_next_page(
    client: httpx2.AsyncClient, world: FakeWorld, path: str, subject: str, page: msgspec.Struct
) -> None:
    world.bus.replies[subject] = page
    answer = await client.get(path, params={"limit": 1})
    assert len(answer.json()) == 1
    following = answer.links["next"]["url"]
    await client.get(following)
    (_, first), (_, second) = world.bus.asked
    assert (msgspec.to_builtins(first).get("cursor"), msgspec.to_builtins(second)["cursor"]) == (
        None, msgspec.to_builtins(page)["next_cursor"],
    )  # fmt: skip


async def test_a_user_shows_every_field(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_USER_GET] = ADA
    assert (await client.get("/users/me")).json() == {
        "name": "ada@example.com", "kind": "person", "full_name": "Ada", "active": True, "is_admin": False,
        "must_change_password": False, "teams": ["red"],
        "roles": [{"role": "viewer", "team": "red", "inherited": True}], "permissions": ["tools.read"],
        "team_permissions": {"red": ["tools.execute"]}, "created_at": 7,
    }  # fmt: skip


async def test_a_login_says_that_the_password_must_be_changed(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    world.bus.replies[subjects.AUTH_LOGIN] = identities.LoggedIn("t", "jwt", 2**40, must_change_password=True)
    body = (await client.post("/auth/login", json={"email": "a@b.c", "password": "p"})).json()
    assert (body["access_token"], body["must_change_password"]) == ("jwt", True)


async def test_what_is_no_password_is_not_repeated(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    secret = "hunter2" * 200
    answer = await client.post("/users/me/password", json={"current_password": "x", "new_password": secret})
    assert answer.status_code == 400
    assert "hunter2" not in answer.text
    assert world.bus.asked == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(PermissionDenied("no"), 403), (NotFound("there is no such team"), 404), (Conflict("taken"), 409)],
)
async def test_a_refusal_is_a_problem_document(
    client: httpx2.AsyncClient, world: FakeWorld, error: Exception, status: int
) -> None:
    world.bus.replies[subjects.AUTH_TEAM_GET] = error
    answer = await client.get("/teams/red")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_every_route_but_registration_needs_a_credential(client: httpx2.AsyncClient, world: FakeWorld) -> None:
    for method, path, body, *_ in ROUTES:
        if path == "/auth/register":
            continue
        answer = await client.request(method, path, json=body, headers={"Authorization": "Bearer bad"})
        assert answer.status_code == 401, path
    assert world.bus.asked == []
