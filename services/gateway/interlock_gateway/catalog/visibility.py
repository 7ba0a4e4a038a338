"""Who sees an upstream or a virtual server, and who may change it."""

from interlock_common.messages.catalog import CreateServer, CreateUpstream, Upstream, VirtualServer, Visibility
from interlock_common.messages.common import Actor
from interlock_gateway.catalog.errors import InvalidVisibility, NotAllowed


def may_see(actor: Actor, item: Upstream | VirtualServer) -> bool:
    """Administrators see all; others what is public, what is their teams', and, if they have teams, their own.

    A credential without teams reaches public objects only, whoever holds it.
    """
    if actor.is_admin or item.visibility == "public":
        return True
    if item.visibility == "team":
        return item.team in actor.teams
    return bool(actor.teams) and item.owner == actor.principal


def require(actor: Actor, permission: str, team: str | None = None) -> None:
    """Raise NotAllowed unless the actor is an administrator or holds ``permission``, for what belongs to ``team``."""
    if not actor.may(permission, team):
        raise NotAllowed(f"this needs the permission {permission}", permission=permission)


def require_owner(actor: Actor, item: Upstream | VirtualServer, permission: str) -> None:
    """Raise NotAllowed unless the actor is an administrator, or owns the item and holds ``permission`` for it."""
    require(actor, permission, item.team)
    if not actor.is_admin and item.owner != actor.principal:
        raise NotAllowed("only its owner or an administrator may do this")


def team_of(wanted: CreateUpstream | CreateServer) -> str | None:
    """The team to which what is asked for would belong."""
    return wanted.team if wanted.visibility == "team" else None


def settled_team(actor: Actor, visibility: Visibility, team: str | None) -> str | None:
    """The team to store: the one given where the visibility is ``team``, else none."""
    if visibility != "team":
        return None
    if team is None:
        raise InvalidVisibility("visibility team needs a team")
    if not actor.is_admin and team not in actor.teams:
        raise InvalidVisibility("the team is not one of yours", team=team)
    return team
