"""What memberships and roles come to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock_common.messages.identities import Assignment
from interlock_common.messages.permissions import PERMISSIONS, PLATFORM_ADMIN, TEAM_ADMIN, VIEWER


@dataclass
class RolesOf:
    """Of one principal: teams with whether it owns them, and roles with the team they are for, if any."""

    memberships: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])
    assignments: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])

    def named(self) -> set[str]:
        return {role for role, _ in self.assignments}

    def inherited(self) -> list[tuple[str, str]]:
        """The roles that come with being in a team, each with the team."""
        return [(role_of_member(owner=owner), team) for team, owner in self.memberships]

    def shown(self, *, is_admin: bool) -> tuple[Assignment, ...]:
        first = [Assignment(PLATFORM_ADMIN)] if is_admin else []
        given = [Assignment(role, team) for role, team in self.assignments]
        return (*first, *given, *(Assignment(role, team, inherited=True) for role, team in self.inherited()))


def role_of_member(*, owner: bool) -> str:
    """An owner runs the team; a member sees what belongs to it. More is given by roles."""
    return TEAM_ADMIN if owner else VIEWER


def effective(
    roles: RolesOf, permissions: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Teams, permissions that count everywhere, and those that count for what belongs to one team only.

    A role that no longer exists, and a role for a team one is not in, come to nothing.
    """
    teams = tuple(team for team, _ in roles.memberships)
    everywhere: set[str] = set()
    within: dict[str, set[str]] = {team: set() for team in teams}
    for role, team in (*roles.assignments, *roles.inherited()):
        held = permissions.get(role, ())
        if team is None:
            everywhere.update(held)
        elif team in within:
            within[team].update(held)
    in_teams = {team: _ordered(held - everywhere) for team, held in within.items() if held - everywhere}
    return teams, _ordered(everywhere), in_teams


def _ordered(held: set[str]) -> tuple[str, ...]:
    return tuple(name for name in PERMISSIONS if name in held)
