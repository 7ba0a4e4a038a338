"""What may be sent about users, teams and roles; auth checks the rest."""

from typing import Annotated, Literal

from pydantic import Field

from interlock_gateway.rest.schemas import Body, Name

type UserName = Annotated[str, Field(min_length=1, max_length=320)]
type Password = Annotated[str, Field(min_length=1, max_length=1024)]
type FullName = Annotated[str, Field(max_length=200)]
type Description = Annotated[str, Field(max_length=1000)]


class UserBody(Body):
    """A new user; a person without a password gets a one-time password, which is answered once."""

    name: UserName
    kind: Literal["person", "service"] = "person"
    password: Password | None = None
    full_name: FullName = ""
    is_admin: bool = False
    must_change_password: bool = False


class UserChange(Body):
    """What of a user changes; what is left out stays."""

    active: bool | None = None
    is_admin: bool | None = None
    full_name: FullName | None = None


class NameChange(Body):
    """What one may change of oneself."""

    full_name: FullName


class RegistrationBody(Body):
    """Who registers."""

    email: UserName
    password: Password
    full_name: FullName = ""


class OwnPasswordBody(Body):
    """The present password, and the one that takes its place."""

    current_password: Password
    new_password: Password


class ResetBody(Body):
    """A password that must be changed at the next login; one is made where none is given."""

    new_password: Password | None = None


class TeamBody(Body):
    """A new team."""

    name: Name
    description: Description = ""


class TeamChange(Body):
    """What of a team changes; what is left out stays."""

    name: Name | None = None
    description: Description | None = None


class MemberBody(Body):
    """Whether a member owns the team."""

    owner: bool = False


class InvitationBody(Body):
    """Whom to invite, and for how long: a week where nothing is said."""

    email: UserName
    owner: bool = False
    lifetime: Annotated[int, Field(ge=1, le=30 * 86400, description="in seconds")] = 7 * 86400


class AcceptanceBody(Body):
    """What the invitation said."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


class RoleBody(Body):
    """What a role is: exact permissions, or a whole group such as ``tools.*``."""

    permissions: Annotated[tuple[Name, ...], Field(max_length=200)]
    description: Description = ""


class NewRoleBody(RoleBody):
    """A new role."""

    name: Name


class AssignmentBody(Body):
    """Which role, and for which team; without one for the whole platform."""

    role: Name
    team: Name | None = None
