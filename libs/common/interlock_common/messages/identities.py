"""Users, service accounts, teams and roles, as auth is asked for them; times in seconds since the epoch.

Passwords and invitation tokens travel in requests and, where auth makes them, once in an answer; only hashes are
kept.
"""

from typing import Literal

import msgspec

from interlock_common.messages.common import Actor

type Kind = Literal["person", "service"]


class Assignment(msgspec.Struct, frozen=True):
    """A role that someone has: for the whole platform, or for one team.

    ``inherited`` roles come with a membership and go with it.
    """

    role: str
    team: str | None = None
    inherited: bool = False


class User(msgspec.Struct, frozen=True):
    """A person, named by an e-mail, or a service account, which has no password.

    ``permissions`` count everywhere, those in ``team_permissions`` for what belongs to that team.
    """

    name: str
    kind: Kind
    full_name: str
    active: bool
    is_admin: bool
    must_change_password: bool
    teams: tuple[str, ...]
    roles: tuple[Assignment, ...]
    permissions: tuple[str, ...]
    team_permissions: dict[str, tuple[str, ...]]
    created_at: int


class UserList(msgspec.Struct, frozen=True):
    users: tuple[User, ...]
    next_cursor: str | None = None


class CreateUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.user.create``: a person without a ``password`` gets a one-time password, which is answered."""

    actor: Actor
    name: str
    kind: Kind = "person"
    password: str | None = None
    full_name: str = ""
    is_admin: bool = False
    must_change_password: bool = False


class NewUser(msgspec.Struct, frozen=True):
    """``one_time_password`` is shown once and must be changed at the first login; None where one was given."""

    user: User
    one_time_password: str | None = None


class UpdateUser(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.user.update``: what is None stays."""

    actor: Actor
    name: str
    active: bool | None = None
    is_admin: bool | None = None
    full_name: str | None = None


class ByName(msgspec.Struct, frozen=True):
    """A request about one user or one role."""

    actor: Actor
    name: str


class Register(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.user.register``: answered alike whether the e-mail is new or not."""

    email: str
    password: str
    full_name: str = ""


class ChangePassword(msgspec.Struct, frozen=True):
    """``svc.auth.password.change``: one's own, by whoever knows the present one."""

    actor: Actor
    current: str
    new: str


class ResetPassword(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.password.reset``: someone else's; it must be changed at the next login.

    Without ``new`` a one-time password is made and answered.
    """

    actor: Actor
    name: str
    new: str | None = None


class PasswordReset(msgspec.Struct, frozen=True):
    one_time_password: str | None = None


class LoggedIn(msgspec.Struct, frozen=True):
    """The answer to a login: with ``must_change_password`` the token opens nothing but the change of the password."""

    id: str
    token: str
    expires_at: int
    must_change_password: bool = False


class Team(msgspec.Struct, frozen=True):
    id: str
    name: str
    description: str
    created_by: str
    created_at: int
    member_count: int


class TeamList(msgspec.Struct, frozen=True):
    teams: tuple[Team, ...]
    next_cursor: str | None = None


class CreateTeam(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.team.create``: the actor becomes its first owner."""

    actor: Actor
    name: str
    description: str = ""


class UpdateTeam(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.team.update``: what is None stays."""

    actor: Actor
    id: str
    name: str | None = None
    description: str | None = None


class Member(msgspec.Struct, frozen=True):
    principal: str
    owner: bool
    joined_at: int


class TeamPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One page of what a team has: members or invitations."""

    actor: Actor
    team: str
    cursor: str | None = None
    limit: int = 100


class MemberList(msgspec.Struct, frozen=True):
    members: tuple[Member, ...]
    next_cursor: str | None = None


class SetMember(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.member.set``: a member is an owner from now on, or no longer; adding one needs ``users.read``."""

    actor: Actor
    team: str
    principal: str
    owner: bool = False


class RemoveMember(msgspec.Struct, frozen=True):
    """``svc.auth.member.remove``: by who runs the team, or by the member itself."""

    actor: Actor
    team: str
    principal: str


class Invite(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.invitation.create``: ``lifetime`` in seconds."""

    actor: Actor
    team: str
    email: str
    owner: bool = False
    lifetime: int = 7 * 86400


class Invitation(msgspec.Struct, frozen=True):
    id: str
    team: str
    email: str
    owner: bool
    invited_by: str
    expires_at: int


class IssuedInvitation(msgspec.Struct, frozen=True):
    """``token`` is shown once; whoever logs in as the invited e-mail accepts with it, once."""

    invitation: Invitation
    token: str


class InvitationList(msgspec.Struct, frozen=True):
    invitations: tuple[Invitation, ...]
    next_cursor: str | None = None


class WithdrawInvitation(msgspec.Struct, frozen=True):
    actor: Actor
    team: str
    id: str


class AcceptInvitation(msgspec.Struct, frozen=True):
    actor: Actor
    token: str


class Role(msgspec.Struct, frozen=True):
    """A name for permissions; ``of_platform`` and ``of_team`` say where it may be given."""

    name: str
    description: str
    permissions: tuple[str, ...]
    built_in: bool = False
    of_platform: bool = True
    of_team: bool = True


class RoleList(msgspec.Struct, frozen=True):
    roles: tuple[Role, ...]


class SetRole(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.role.create`` and ``svc.auth.role.update``, in full."""

    actor: Actor
    name: str
    permissions: tuple[str, ...]
    description: str = ""


class AssignRole(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.auth.role.assign`` and ``svc.auth.role.withdraw``; without ``team`` for the whole platform."""

    actor: Actor
    principal: str
    role: str
    team: str | None = None
