"""Nobody mints what they do not hold: how far a principal, an actor and a token reach, and which holds which."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from interlock_auth.errors import NotContained
from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.common import Actor
from interlock_common.restrictions import widened

ANY = "*"


@dataclass(frozen=True)
class Reach:
    """What a credential opens. ``None`` is no limit: every permission, every team, every server.

    ``team_permissions`` count, beside ``permissions``, for what belongs to that team.
    """

    permissions: frozenset[str] | None
    teams: frozenset[str] | None
    server_id: str | None = None
    team_permissions: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    limits: Scopes = field(default=Scopes(), compare=False)
    """From where, when and how often it counts; how far it reaches does not depend on that."""

    def holds(self, other: "Reach") -> bool:
        """Whether ``other`` opens nothing that this does not open."""
        return (
            _within(other.permissions, self.permissions)
            and self.holds_teams_of(other)
            and _within(other.teams, self.teams)
            and self.server_id in (None, other.server_id)
            and widened(other.limits, self.limits) is None
        )

    def holds_teams_of(self, other: "Reach") -> bool:
        """Whether what ``other`` opens within teams is opened by this as well."""
        return all(_within(held, self.within(team)) for team, held in other.team_permissions.items())

    def within(self, team: str | None) -> frozenset[str] | None:
        """The permissions for what belongs to ``team``; for what belongs to none, those that count everywhere."""
        if self.permissions is None or team is None:
            return self.permissions
        return self.permissions | self.team_permissions.get(team, frozenset())

    def may(self, permission: str, team: str | None = None) -> bool:
        held = self.within(team)
        return held is None or permission in held


@dataclass(frozen=True)
class Grant:
    """What a token was minted with; ``teams`` None is the claim left out."""

    scopes: Scopes
    teams: tuple[str, ...] | None


def reach_of_token(principal: Principal, grant: Grant) -> Reach:
    """What a token of ``principal`` opens: never more than the principal, less as its grant says."""
    scoped = None if not grant.scopes.permissions else _permissions(grant.scopes.permissions)
    if grant.teams is None:
        teams = None if principal.is_admin else frozenset[str]()
    else:
        teams = _meet(frozenset(grant.teams), None if principal.is_admin else frozenset(principal.teams))
    in_teams = _in_teams(principal, teams, dict.fromkeys(principal.team_permissions, scoped))
    return Reach(_meet(_own_permissions(principal), scoped), teams, grant.scopes.server_id, in_teams, grant.scopes)


def reach_of_actor(principal: Principal, actor: Actor) -> Reach:
    """What someone opens who came without a token of ours, such as with a client certificate."""
    if principal.is_admin and actor.is_admin:
        claimed = _permissions(actor.permissions) if actor.permissions else None
        return Reach(claimed, None)
    permissions = _meet(_own_permissions(principal), _permissions(actor.permissions))
    teams = _meet(frozenset(actor.teams), None if principal.is_admin else frozenset(principal.teams))
    claimed = {team: _permissions(names) for team, names in actor.team_permissions.items()}
    return Reach(permissions, teams, team_permissions=_in_teams(principal, teams, claimed))


def require_contained(principal: Principal, held: Reach, asked: Grant) -> None:
    """Refuse a grant that reaches further than ``held``, naming what is missing.

    What a grant names must be held, and what it leaves out must not widen it: a limited credential cannot mint
    an unlimited one.
    """
    _require_named(held, asked)
    reach = reach_of_token(principal, asked)
    if not (_within(reach.permissions, held.permissions) and held.holds_teams_of(reach)):
        raise NotContained("a token without scopes.permissions would open more than the credential that asks for it")
    if not _within(reach.teams, held.teams):
        raise NotContained("a token without teams would open more than the credential that asks for it")
    if held.server_id not in (None, reach.server_id):
        raise NotContained(f"scopes.server_id must be {held.server_id}, as in the credential that asks for it")
    if held.limits.usage_limits is not None:
        raise NotContained("a token with usage_limits mints no other, which would be good for as much once more")
    if (wider := widened(asked.scopes, held.limits)) is not None:
        raise NotContained(f"{wider} must be no wider than in the credential that asks for it")


def binding_of_minted(bound_to: str | None, asked: str | None) -> str | None:
    """The certificate that a token is bound to which somebody mints for themselves; None is none.

    What a bound token mints is bound to the same one: the binding of a token could be shed otherwise.
    """
    if bound_to is not None and asked not in (None, bound_to):
        raise NotContained("certificate must be the one that the credential which asks for it is bound to")
    return asked or bound_to


def require_narrower(asked: Scopes, minted: Scopes) -> None:
    """Refuse scopes that would let a token do what it may not do now; each limit that is there must stay."""
    if minted.server_id not in (None, asked.server_id):
        raise NotContained("scopes.server_id of a token cannot be changed")
    had = _permissions(minted.permissions) if minted.permissions else None
    has = _permissions(asked.permissions) if asked.permissions else None
    if not _within(has, had):
        raise NotContained("scopes.permissions of a token can only become fewer")
    if (wider := widened(asked, minted)) is not None:
        raise NotContained(f"{wider} of a token can only become narrower")


def _require_named(held: Reach, asked: Grant) -> None:
    named = asked.scopes.permissions  # a scope is a ceiling: what is held in one team only may be named as well
    anywhere = None if held.permissions is None else held.permissions.union(*held.team_permissions.values())
    if anywhere is not None and (missing := sorted(set(named) - anywhere)):
        raise NotContained(f"scopes.permissions names {', '.join(missing)}, which the actor does not hold")
    if asked.teams is not None and held.teams is not None and (missing := sorted(set(asked.teams) - held.teams)):
        raise NotContained(f"teams names {', '.join(missing)}, which the actor is not in")


def _own_permissions(principal: Principal) -> frozenset[str] | None:
    return None if principal.is_admin else _permissions(principal.permissions)


def _in_teams(
    principal: Principal, teams: frozenset[str] | None, limits: Mapping[str, frozenset[str] | None]
) -> dict[str, frozenset[str]]:
    """What the principal holds within each of ``teams`` that has a limit, as far as the limit goes."""
    if principal.is_admin:  # holds everything everywhere, as far as it is not narrowed everywhere
        return {}
    return {
        team: frozenset(held) if (limit := limits[team]) is None else frozenset(held) & limit
        for team, held in principal.team_permissions.items()
        if team in limits and (teams is None or team in teams)
    }


def _permissions(names: tuple[str, ...]) -> frozenset[str] | None:
    return None if ANY in names else frozenset(names)


def _meet(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None:
        return other
    return one if other is None else one & other


def _within(inner: frozenset[str] | None, outer: frozenset[str] | None) -> bool:
    return outer is None or (inner is not None and inner <= outer)
