"""Users, teams and roles together: what is done with them, and which subject each is."""

from dataclasses import dataclass
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.invitations import Invitations
from interlock_auth.outlet import Outlet
from interlock_auth.own_password import PasswordChanges
from interlock_auth.passwords import Passwords
from interlock_auth.principals import Principals
from interlock_auth.roles import Roles
from interlock_auth.selectors import Selectors
from interlock_auth.teams import Teams
from interlock_auth.users import UserRules, Users
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.messages import identities as contracts
from interlock_common.messages import subjects
from interlock_common.messages.common import ById, Page


@dataclass(frozen=True)
class Identities:
    """The stories about whoever may act."""

    users: Users
    passwords: PasswordChanges
    teams: Teams
    invitations: Invitations
    roles: Roles

    @classmethod
    def of(
        cls,
        engine: AsyncEngine,
        outlet: Outlet,
        passwords: Passwords,
        principals: Principals,
        selectors: Selectors,
        rules: UserRules,
        clock: Clock,
    ) -> Self:
        directory = principals.directory
        return cls(
            Users(engine, directory, outlet, passwords, rules, clock),
            PasswordChanges(engine, directory, outlet, passwords, principals, selectors, rules.passwords, clock),
            Teams(engine, directory, outlet, clock),
            Invitations(engine, directory, outlet, clock),
            Roles(engine, directory, outlet, clock),
        )

    def bind(self, bus: Bus) -> None:
        """Say which story answers which subject."""
        bus.endpoint(subjects.AUTH_USER_CREATE, contracts.CreateUser, self.users.create)
        bus.endpoint(subjects.AUTH_USER_LIST, Page, self.users.list)
        bus.endpoint(subjects.AUTH_USER_GET, contracts.ByName, self.users.get)
        bus.endpoint(subjects.AUTH_USER_UPDATE, contracts.UpdateUser, self.users.update)
        bus.endpoint(subjects.AUTH_USER_DELETE, contracts.ByName, self.users.delete)
        bus.endpoint(subjects.AUTH_USER_REGISTER, contracts.Register, self.users.register)
        bus.endpoint(subjects.AUTH_PASSWORD_CHANGE, contracts.ChangePassword, self.passwords.change)
        bus.endpoint(subjects.AUTH_PASSWORD_RESET, contracts.ResetPassword, self.passwords.reset)
        bus.endpoint(subjects.AUTH_ROLE_LIST, Page, self.roles.list)
        bus.endpoint(subjects.AUTH_ROLE_CREATE, contracts.SetRole, self.roles.create)
        bus.endpoint(subjects.AUTH_ROLE_UPDATE, contracts.SetRole, self.roles.update)
        bus.endpoint(subjects.AUTH_ROLE_DELETE, contracts.ByName, self.roles.delete)
        bus.endpoint(subjects.AUTH_ROLE_ASSIGN, contracts.AssignRole, self.roles.assign)
        bus.endpoint(subjects.AUTH_ROLE_WITHDRAW, contracts.AssignRole, self.roles.withdraw)
        self._bind_teams(bus)

    def _bind_teams(self, bus: Bus) -> None:
        bus.endpoint(subjects.AUTH_TEAM_CREATE, contracts.CreateTeam, self.teams.create)
        bus.endpoint(subjects.AUTH_TEAM_LIST, Page, self.teams.list)
        bus.endpoint(subjects.AUTH_TEAM_GET, ById, self.teams.get)
        bus.endpoint(subjects.AUTH_TEAM_UPDATE, contracts.UpdateTeam, self.teams.update)
        bus.endpoint(subjects.AUTH_TEAM_DELETE, ById, self.teams.delete)
        bus.endpoint(subjects.AUTH_MEMBER_LIST, contracts.TeamPage, self.teams.members)
        bus.endpoint(subjects.AUTH_MEMBER_SET, contracts.SetMember, self.teams.set_member)
        bus.endpoint(subjects.AUTH_MEMBER_REMOVE, contracts.RemoveMember, self.teams.remove_member)
        bus.endpoint(subjects.AUTH_INVITATION_CREATE, contracts.Invite, self.invitations.create)
        bus.endpoint(subjects.AUTH_INVITATION_LIST, contracts.TeamPage, self.invitations.list)
        bus.endpoint(subjects.AUTH_INVITATION_WITHDRAW, contracts.WithdrawInvitation, self.invitations.withdraw)
        bus.endpoint(subjects.AUTH_INVITATION_ACCEPT, contracts.AcceptInvitation, self.invitations.accept)
