"""Users, teams and roles on a real database."""

import asyncio
from typing import Any

import pytest

from interlock_auth.errors import (
    InUse,
    LastAdministrator,
    LastOwner,
    LockedOut,
    LoginRefused,
    NameTaken,
    NotAssignable,
    NotContained,
    NotPermitted,
    PasswordMustChange,
    PasswordRefused,
    PermissionUnknown,
    RegistrationClosed,
    TeamNotFound,
    UserNotFound,
)
from interlock_auth.identities import Identities
from interlock_auth.password_rules import PasswordRules
from interlock_auth.users import UserRules
from interlock_common.errors import Conflict, InvalidInput, Unavailable
from interlock_common.messages.auth import CreateToken, Login, Principal, Scopes, principal_key
from interlock_common.messages.common import Actor, ById, Page
from interlock_common.messages.identities import (
    AcceptInvitation,
    Assignment,
    AssignRole,
    ByName,
    ChangePassword,
    CreateTeam,
    CreateUser,
    Invite,
    Register,
    RemoveMember,
    ResetPassword,
    SetMember,
    SetRole,
    TeamPage,
    UpdateTeam,
    UpdateUser,
    WithdrawInvitation,
)
from interlock_common.messages.permissions import BUILT_IN_ROLES, PERMISSIONS

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
PASSWORD = "a long enough pass phrase"


@pytest.fixture
def identities(world: Any) -> Identities:
    return make(world)


def make(world: Any, *, registration: bool = False) -> Identities:
    rules = UserRules(PasswordRules(), registration)
    return Identities.of(
        world.engine, world.outlet, world.passwords, world.principals, world.selectors, rules, world.clock
    )


def published(world: Any, name: str) -> Principal:
    return world.outlet.buckets["principals"][principal_key(name)]


def acting(world: Any, name: str) -> Actor:
    """Someone with a client certificate, as the edge knows them by the bucket."""
    known = published(world, name)
    return Actor(name, known.is_admin, known.teams, known.permissions, None, known.team_permissions)


async def person(identities: Identities, root: Actor, name: str, *roles: str) -> None:
    await identities.users.create(CreateUser(root, name, password=PASSWORD))
    for role in roles:
        await identities.roles.assign(AssignRole(root, name, role))


async def test_a_user_is_created_shown_listed_and_published(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    made = await identities.users.create(CreateUser(root, " Ada@Example.com", password=PASSWORD, full_name="Ada L."))
    assert (made.user.name, made.user.kind, made.user.full_name, made.one_time_password) == (
        ADA, "person", "Ada L.", None,
    )  # fmt: skip
    assert published(world, ADA) == Principal(ADA)
    await identities.users.create(CreateUser(root, "ci-bot", kind="service"))
    first = await identities.users.list(Page(root, limit=2))
    assert ([user.name for user in first.users], first.next_cursor) == ([ADA, "admin@example.com"], "admin@example.com")
    second = await identities.users.list(Page(root, first.next_cursor, 2))
    assert ([user.name for user in second.users], second.next_cursor) == (["ci-bot"], None)
    assert ("user.created", "admin@example.com", ADA) in world.outlet.actions
    assert (await world.principals.login(Login(ADA, PASSWORD))).must_change_password is False


async def test_who_may_not_see_users_sees_oneself(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    me = acting(world, ADA)
    assert (await identities.users.get(ByName(me, ADA))).name == ADA
    for name in ("admin@example.com", "nobody@example.com"):
        with pytest.raises(NotPermitted, match=r"users\.read"):
            await identities.users.get(ByName(me, name))
    with pytest.raises(NotPermitted, match=r"users\.read"):
        await identities.users.list(Page(me))
    await identities.users.update(UpdateUser(me, ADA, full_name="Ada"))
    with pytest.raises(NotPermitted, match="administrator"):
        await identities.users.update(UpdateUser(me, ADA, is_admin=True))
    with pytest.raises(NotPermitted, match=r"users\.update"):
        await identities.users.update(UpdateUser(me, BOB, full_name="x"))


async def test_a_deactivated_user_is_published_and_logs_in_no_more(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    await identities.users.update(UpdateUser(root, ADA, active=False))
    assert published(world, ADA).active is False
    with pytest.raises(LoginRefused):
        await world.principals.login(Login(ADA, PASSWORD))


async def test_a_change_the_bus_did_not_take_is_published_later(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    world.outlet.away = True
    with pytest.raises(Unavailable):
        await identities.users.update(UpdateUser(root, ADA, active=False))
    world.outlet.away = False
    assert published(world, ADA).active is True
    await world.principals.directory.publish_missed()
    assert published(world, ADA).active is False


async def test_a_deleted_user_ends_and_the_name_is_not_given_again(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA, "developer")
    await identities.users.delete(ByName(root, ADA))
    assert published(world, ADA) == Principal(ADA, active=False)
    with pytest.raises(UserNotFound):
        await identities.users.get(ByName(root, ADA))
    with pytest.raises(NameTaken):
        await identities.users.create(CreateUser(root, ADA))
    assert ADA not in {user.name for user in (await identities.users.list(Page(root))).users}


async def test_the_last_active_administrator_stays(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    for change in (UpdateUser(root, root.principal, active=False), UpdateUser(root, root.principal, is_admin=False)):
        with pytest.raises(LastAdministrator):
            await identities.users.update(change)
    with pytest.raises(LastAdministrator):
        await identities.users.delete(ByName(root, root.principal))
    with pytest.raises(LastAdministrator):
        await identities.roles.withdraw(AssignRole(root, root.principal, "platform_admin"))
    await person(identities, root, ADA, "platform_admin")
    await identities.users.update(UpdateUser(root, root.principal, is_admin=False))
    assert published(world, root.principal).is_admin is False


async def test_two_administrators_cannot_leave_at_the_same_time(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA, "platform_admin")
    leaving = [
        identities.users.update(UpdateUser(acting(world, ADA), ADA, is_admin=False)),
        identities.users.delete(ByName(root, root.principal)),
    ]
    outcomes = await asyncio.gather(*leaving, return_exceptions=True)
    assert sum(isinstance(outcome, LastAdministrator) for outcome in outcomes) == 1


async def test_roles_given_at_the_same_time_all_count(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    names = [f"role-{number}" for number in range(6)]
    for name, permission in zip(names, PERMISSIONS, strict=False):
        await identities.roles.create(SetRole(root, name, (permission,)))
    await asyncio.gather(*(identities.roles.assign(AssignRole(root, ADA, name)) for name in names))
    assert published(world, ADA).permissions == PERMISSIONS[:6]


async def test_a_service_account_has_no_password(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    made = await identities.users.create(CreateUser(root, "ci-bot", kind="service"))
    assert (made.one_time_password, made.user.must_change_password) == (None, False)
    with pytest.raises(LoginRefused):
        await world.principals.login(Login("ci-bot", ""))
    with pytest.raises(InvalidInput, match="no password"):
        await identities.users.create(CreateUser(root, "cd-bot", kind="service", password=PASSWORD))
    with pytest.raises(InvalidInput, match="no password"):
        await identities.passwords.reset(ResetPassword(root, "ci-bot"))
    with pytest.raises(InvalidInput, match="no administrator"):
        await identities.users.update(UpdateUser(root, "ci-bot", is_admin=True))
    with pytest.raises(NotAssignable):
        await identities.roles.assign(AssignRole(root, "ci-bot", "platform_admin"))
    with pytest.raises(InvalidInput):
        await identities.users.create(CreateUser(root, "ci@bot", kind="service"))


async def test_a_service_account_gets_its_tokens_from_who_holds_as_much(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await identities.users.create(CreateUser(root, "ci-bot", kind="service"))
    await identities.roles.assign(AssignRole(root, "ci-bot", "developer"))
    issued = await world.tokens.create(CreateToken(root, "build", 60, principal="ci-bot"))
    assert (await identities.users.get(ByName(Actor("ci-bot", token_id=issued.id), "ci-bot"))).name == "ci-bot"
    await identities.roles.create(SetRole(root, "helpdesk", ("users.*",)))
    await person(identities, root, EVE, "helpdesk")
    await person(identities, root, ADA, "developer")
    for actor in (acting(world, EVE), acting(world, ADA)):
        with pytest.raises(NotPermitted):
            await world.tokens.create(CreateToken(actor, "build", 60, principal="ci-bot"))
    for other in (ADA, "nobody"):
        with pytest.raises(NotPermitted, match="for active service accounts"):
            await world.tokens.create(CreateToken(root, "build", 60, principal=other))
    beyond = Scopes(permissions=("users.read",))
    with pytest.raises(NotContained):
        await world.tokens.create(CreateToken(root, "build", 60, beyond, principal="ci-bot"))


async def test_a_one_time_password_opens_nothing_but_its_change(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    made = await identities.users.create(CreateUser(root, ADA))
    assert made.one_time_password is not None
    first = await world.principals.login(Login(ADA, made.one_time_password))
    assert first.must_change_password
    with pytest.raises(PasswordMustChange):
        await world.principals.verified(Login(ADA, made.one_time_password))
    narrowed = Actor(ADA, token_id=first.id)
    await identities.roles.assign(AssignRole(root, ADA, "developer"))
    with pytest.raises(NotPermitted):
        await identities.teams.create(CreateTeam(narrowed, "red"))
    await identities.passwords.change(ChangePassword(narrowed, made.one_time_password, PASSWORD))
    assert not (await world.principals.login(Login(ADA, PASSWORD))).must_change_password
    with pytest.raises(LoginRefused):
        await world.principals.login(Login(ADA, made.one_time_password))


async def test_a_new_password_ends_what_was_issued_before(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    login = await world.principals.login(Login(ADA, PASSWORD))
    world.clock.advance(1)
    await identities.passwords.change(ChangePassword(Actor(ADA, token_id=login.id), PASSWORD, "something entirely new"))
    with pytest.raises(NotContained, match="revoked"):
        await identities.users.get(ByName(Actor(ADA, token_id=login.id), ADA))
    anew = await world.principals.login(Login(ADA, "something entirely new"))
    assert await identities.users.get(ByName(Actor(ADA, token_id=anew.id), ADA))
    await identities.passwords.reset(ResetPassword(root, ADA))
    with pytest.raises(NotContained, match="revoked"):
        await identities.users.get(ByName(Actor(ADA, token_id=anew.id), ADA))


async def test_guesses_at_the_present_password_count_as_failed_logins(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    me = acting(world, ADA)
    for _ in range(3):
        with pytest.raises(LoginRefused):
            await identities.passwords.change(ChangePassword(me, "wrong", "something entirely new"))
    with pytest.raises(LockedOut):
        await identities.passwords.change(ChangePassword(me, PASSWORD, "something entirely new"))
    await identities.passwords.reset(ResetPassword(root, ADA, "given by the administrator"))
    assert (await world.principals.login(Login(ADA, "given by the administrator"))).must_change_password


async def test_nobody_resets_the_password_of_who_holds_more(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await identities.roles.create(SetRole(root, "helpdesk", ("users.*",)))
    await person(identities, root, EVE, "helpdesk")
    await person(identities, root, ADA, "developer")
    await person(identities, root, BOB)
    helpdesk = acting(world, EVE)
    for name in (ADA, root.principal):
        with pytest.raises(NotPermitted, match="holds more"):
            await identities.passwords.reset(ResetPassword(helpdesk, name))
    assert (await identities.passwords.reset(ResetPassword(helpdesk, BOB))).one_time_password
    with pytest.raises(NotPermitted, match="concerns an administrator"):
        await identities.users.update(UpdateUser(helpdesk, root.principal, active=False))
    with pytest.raises(NotPermitted, match="concerns an administrator"):
        await identities.users.delete(ByName(helpdesk, root.principal))
    with pytest.raises(NotPermitted):
        await identities.users.create(CreateUser(helpdesk, "x@example.com", is_admin=True))
    assert (await identities.users.create(CreateUser(helpdesk, "x@example.com"))).user.permissions == ()


@pytest.mark.parametrize("password", ["short", "password123!", "ADA@example.com", "xx ada lovelace ada@example.com"])
async def test_a_password_that_breaks_a_rule_is_refused(world: Any, identities: Identities, password: str) -> None:
    root = await world.administrator()
    with pytest.raises(PasswordRefused) as refused:
        await identities.users.create(CreateUser(root, ADA, password=password))
    assert password not in refused.value.detail


async def test_registration_is_closed_unless_opened(identities: Identities) -> None:
    with pytest.raises(RegistrationClosed):
        await identities.users.register(Register(ADA, PASSWORD))


async def test_registration_says_nothing_of_who_is_there(world: Any) -> None:
    identities = make(world, registration=True)
    root = await world.administrator()
    hashed: list[str] = []
    real = world.passwords.hash

    async def hash_(password: str) -> str:
        hashed.append(password)
        return await real(password)

    world.passwords.hash = hash_
    fresh = await identities.users.register(Register(ADA, PASSWORD))
    taken = await identities.users.register(Register(root.principal, "taken over by somebody"))
    assert fresh == taken
    assert hashed == [PASSWORD, "taken over by somebody"]
    assert (await world.principals.login(Login(ADA, PASSWORD))).id
    with pytest.raises(LoginRefused):
        await world.principals.login(Login(root.principal, "taken over by somebody"))


async def test_roles_come_to_permissions_at_once(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    shown = await identities.roles.assign(AssignRole(root, ADA, "developer"))
    assert shown.roles == (Assignment("developer"),)
    assert set(published(world, ADA).permissions) == set(BUILT_IN_ROLES["developer"].permissions)
    await identities.roles.withdraw(AssignRole(root, ADA, "developer"))
    assert published(world, ADA).permissions == ()


async def test_a_changed_custom_role_changes_all_who_have_it(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    made = await identities.roles.create(SetRole(root, "caller", ("tools.execute", "resources.*")))
    assert made.permissions == (
        "tools.execute", "resources.create", "resources.read", "resources.update", "resources.delete",
    )  # fmt: skip
    await person(identities, root, ADA, "caller")
    await identities.roles.update(SetRole(root, "caller", ("tools.read",)))
    assert published(world, ADA).permissions == ("tools.read",)
    with pytest.raises(InUse):
        await identities.roles.delete(ByName(root, "caller"))
    await identities.roles.withdraw(AssignRole(root, ADA, "caller"))
    await identities.roles.delete(ByName(root, "caller"))
    assert [role.name for role in (await identities.roles.list(Page(root))).roles] == list(BUILT_IN_ROLES)


async def test_unknown_permissions_are_refused_with_the_nearest(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    with pytest.raises(PermissionUnknown, match=r"tools\.exec, did you mean tools\.execute"):
        await identities.roles.create(SetRole(root, "caller", ("tools.exec",)))
    with pytest.raises(PermissionUnknown):
        await identities.roles.create(SetRole(root, "all", ("*",)))
    for name in BUILT_IN_ROLES:
        with pytest.raises(NotAssignable, match="built in"):
            await identities.roles.update(SetRole(root, name, PERMISSIONS))


async def test_nobody_gives_a_role_that_they_do_not_hold(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await identities.roles.create(SetRole(root, "manager", ("admin.user_management", "tools.read")))
    await identities.roles.create(SetRole(root, "caller", ("tools.execute",)))
    await person(identities, root, ADA, "manager")
    await person(identities, root, BOB)
    manager = acting(world, ADA)
    for role in ("developer", "caller"):
        for whom in (ADA, BOB):
            with pytest.raises(NotPermitted, match="nobody gives what they do not hold"):
                await identities.roles.assign(AssignRole(manager, whom, role))
    with pytest.raises(NotPermitted, match="administrator"):
        await identities.roles.assign(AssignRole(manager, ADA, "platform_admin"))
    with pytest.raises(NotPermitted):
        await identities.roles.create(SetRole(manager, "mine", ("tools.execute",)))
    with pytest.raises(NotPermitted):
        await identities.roles.update(SetRole(manager, "caller", ("tools.read",)))
    with pytest.raises(NotPermitted):
        await identities.roles.update(SetRole(manager, "manager", ("admin.user_management", "tools.execute")))
    assert (await identities.roles.assign(AssignRole(manager, BOB, "manager"))).permissions


async def test_a_limited_administrator_makes_no_administrators(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    await person(identities, root, ADA)
    limited = Actor(root.principal, is_admin=True, permissions=("users.update", "admin.user_management"))
    with pytest.raises(NotPermitted):
        await identities.users.update(UpdateUser(limited, ADA, is_admin=True))
    with pytest.raises(NotPermitted):
        await identities.roles.assign(AssignRole(limited, ADA, "platform_admin"))


async def team_of(world: Any, identities: Identities) -> tuple[Actor, str]:
    """Ada owns the team red; Bob and Eve are there."""
    root = await world.administrator()
    await person(identities, root, ADA, "developer")
    await person(identities, root, BOB)
    await person(identities, root, EVE)
    team = await identities.teams.create(CreateTeam(acting(world, ADA), "red"))
    return root, team.id


async def test_who_makes_a_team_owns_it_and_others_do_not_know_it(world: Any, identities: Identities) -> None:
    root, red = await team_of(world, identities)
    ada = published(world, ADA)
    assert ada.teams == (red,)
    assert "teams.update" in ada.team_permissions[red]
    assert [team.name for team in (await identities.teams.list(Page(acting(world, ADA)))).teams] == ["red"]
    assert (await identities.teams.list(Page(acting(world, BOB)))).teams == ()
    for wanted in (red, "no-such-team"):
        with pytest.raises(TeamNotFound, match="there is no such team"):
            await identities.teams.get(ById(acting(world, BOB), wanted))
        with pytest.raises(TeamNotFound):
            await identities.invitations.list(TeamPage(acting(world, BOB), wanted))
    assert (await identities.teams.get(ById(root, red))).member_count == 1
    with pytest.raises(NameTaken):
        await identities.teams.create(CreateTeam(root, "red"))
    renamed = await identities.teams.update(UpdateTeam(acting(world, ADA), red, "crimson"))
    assert renamed.name == "crimson"


async def test_an_invitation_is_for_one_email_once_and_for_a_while(world: Any, identities: Identities) -> None:
    _, red = await team_of(world, identities)
    issued = await identities.invitations.create(Invite(acting(world, ADA), red, BOB, lifetime=60))
    with pytest.raises(TeamNotFound):
        await identities.invitations.accept(AcceptInvitation(acting(world, EVE), issued.token))
    joined = await identities.invitations.accept(AcceptInvitation(acting(world, BOB), issued.token))
    assert (joined.id, joined.member_count) == (red, 2)
    bob = published(world, BOB)
    assert bob.teams == (red,)
    assert "tools.read" in bob.team_permissions[red]
    assert "tools.execute" not in bob.team_permissions[red]
    with pytest.raises(TeamNotFound):
        await identities.invitations.accept(AcceptInvitation(acting(world, BOB), issued.token))
    late = await identities.invitations.create(Invite(acting(world, ADA), red, EVE, lifetime=60))
    world.clock.advance(60)
    with pytest.raises(TeamNotFound):
        await identities.invitations.accept(AcceptInvitation(acting(world, EVE), late.token))
    assert (await identities.invitations.list(TeamPage(acting(world, ADA), red))).invitations == ()


async def test_of_two_who_accept_at_once_one_joins(world: Any, identities: Identities) -> None:
    _, red = await team_of(world, identities)
    issued = await identities.invitations.create(Invite(acting(world, ADA), red, BOB))
    bob = acting(world, BOB)
    accepting = [identities.invitations.accept(AcceptInvitation(bob, issued.token)) for _ in range(3)]
    outcomes = await asyncio.gather(*accepting, return_exceptions=True)
    assert sum(isinstance(outcome, TeamNotFound) for outcome in outcomes) == 2


async def test_withdrawn_invitations_and_those_of_who_left_count_no_more(world: Any, identities: Identities) -> None:
    root, red = await team_of(world, identities)
    ada = acting(world, ADA)
    one = await identities.invitations.create(Invite(ada, red, BOB))
    await identities.invitations.withdraw(WithdrawInvitation(ada, red, one.invitation.id))
    two = await identities.invitations.create(Invite(ada, red, EVE))
    await identities.teams.set_member(SetMember(root, red, BOB, owner=True))
    await identities.teams.remove_member(RemoveMember(root, red, ADA))
    for name, token in ((BOB, one.token), (EVE, two.token)):
        with pytest.raises(TeamNotFound):
            await identities.invitations.accept(AcceptInvitation(acting(world, name), token))
    with pytest.raises(InvalidInput):
        await identities.invitations.create(Invite(root, red, BOB, lifetime=10**9))


async def test_a_team_has_a_bounded_number_of_invitations(
    world: Any, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, red = await team_of(world, identities)
    monkeypatch.setattr("interlock_auth.invitations.MAX_WAITING", 1)
    await identities.invitations.create(Invite(acting(world, ADA), red, BOB))
    with pytest.raises(Conflict, match="at most 1"):
        await identities.invitations.create(Invite(acting(world, ADA), red, EVE))


async def test_a_team_keeps_an_owner_and_members_may_leave(world: Any, identities: Identities) -> None:
    root, red = await team_of(world, identities)
    ada = acting(world, ADA)
    with pytest.raises(NotPermitted, match=r"users\.read"):  # else it would say who has an account
        await identities.teams.set_member(SetMember(ada, red, BOB))
    await identities.teams.set_member(SetMember(root, red, BOB))
    with pytest.raises(LastOwner):
        await identities.teams.remove_member(RemoveMember(ada, red, ADA))
    with pytest.raises(LastOwner):
        await identities.teams.set_member(SetMember(ada, red, ADA, owner=False))
    with pytest.raises(NotPermitted, match=r"teams\.update"):
        await identities.teams.remove_member(RemoveMember(acting(world, BOB), red, ADA))
    members = await identities.teams.members(TeamPage(acting(world, BOB), red))
    assert [(member.principal, member.owner) for member in members.members] == [(ADA, True), (BOB, False)]
    await identities.teams.remove_member(RemoveMember(acting(world, BOB), red, BOB))
    assert published(world, BOB) == Principal(BOB)


async def test_roles_of_a_team_count_there_and_end_with_it(world: Any, identities: Identities) -> None:
    root, red = await team_of(world, identities)
    ada = acting(world, ADA)
    with pytest.raises(NotAssignable, match="not in that team"):
        await identities.roles.assign(AssignRole(ada, BOB, "developer", red))
    await identities.teams.set_member(SetMember(root, red, BOB))
    shown = await identities.roles.assign(AssignRole(ada, BOB, "developer", red))
    assert Assignment("viewer", red, inherited=True) in shown.roles
    assert "tools.execute" in published(world, BOB).team_permissions[red]
    assert published(world, BOB).permissions == ()
    with pytest.raises(NotAssignable, match="whole platform"):
        await identities.roles.assign(AssignRole(root, BOB, "platform_viewer", red))
    with pytest.raises(NotAssignable, match="for a team"):
        await identities.roles.assign(AssignRole(root, BOB, "team_admin"))
    with pytest.raises(NotPermitted):
        await identities.roles.assign(AssignRole(ada, BOB, "developer"))
    with pytest.raises(TeamNotFound):
        await identities.roles.assign(AssignRole(acting(world, EVE), EVE, "developer", red))
    with pytest.raises(NotPermitted):
        await identities.roles.assign(AssignRole(acting(world, BOB), BOB, "team_admin", red))
    await identities.teams.delete(ById(ada, red))
    assert published(world, BOB) == Principal(BOB)
    assert published(world, ADA).team_permissions == {}
    assert (await identities.users.get(ByName(root, BOB))).roles == ()


async def test_a_credential_for_one_server_manages_nothing(world: Any, identities: Identities) -> None:
    root = await world.administrator()
    issued = await world.tokens.create(CreateToken(root, "one", 60, Scopes(server_id="one")))
    scoped = Actor(root.principal, is_admin=True, token_id=issued.id)
    for asked in (
        identities.users.list(Page(scoped)),
        identities.users.create(CreateUser(scoped, ADA)),
        identities.teams.create(CreateTeam(scoped, "red")),
        identities.roles.create(SetRole(scoped, "mine", ("tools.read",))),
        identities.invitations.accept(AcceptInvitation(scoped, "x")),
    ):
        with pytest.raises(NotPermitted):
            await asked
