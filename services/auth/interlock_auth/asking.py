"""Who asks, and what they may do to whom: nobody gives, or takes over, more than they hold."""

from collections.abc import Iterable
from dataclasses import dataclass

from interlock_auth.containment import Grant, Reach, reach_of_token
from interlock_auth.errors import NotPermitted
from interlock_auth.standing import standing
from interlock_auth.store import Store
from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.common import Actor
from interlock_common.restrictions import widened


@dataclass(frozen=True)
class Asker:
    """A principal that is active, and what the credential it came with opens."""

    principal: Principal
    reach: Reach

    @property
    def name(self) -> str:
        return self.principal.name

    @property
    def unlimited(self) -> bool:
        """Whether this is an administrator whose credential is not narrowed in any way."""
        everything = self.reach == Reach(None, None)
        return self.principal.is_admin and everything and widened(Scopes(), self.reach.limits) is None

    def may(self, permission: str, team: str | None = None) -> bool:
        """A credential for one virtual server opens nothing of what is managed here."""
        return self.reach.server_id is None and self.reach.may(permission, team)

    def reaches(self, team: str) -> bool:
        return self.reach.server_id is None and (self.reach.teams is None or team in self.reach.teams)

    def require(self, permission: str, team: str | None = None) -> None:
        if not self.may(permission, team):
            raise NotPermitted(f"this needs the permission {permission}", permission=permission)

    def require_unlimited(self) -> None:
        if not self.unlimited:
            raise NotPermitted("this needs a platform administrator, with a credential that is not limited")

    def require_held(self, permissions: Iterable[str], team: str | None = None) -> None:
        """Refuse to give what is not held, in that team or everywhere."""
        held = self.reach.within(team)
        if held is not None and (missing := sorted(set(permissions) - held)):
            raise NotPermitted(f"nobody gives what they do not hold: {', '.join(missing)}", missing=missing)

    def require_to_hold_all_of(self, other: Principal) -> None:
        """Refuse to take over someone who may do what the asker may not."""
        whole = Grant(Scopes(), None if other.is_admin else other.teams)
        if other.name != self.name and not self.reach.holds(reach_of_token(other, whole)):
            raise NotPermitted(f"{other.name} holds more than you do, so this is for someone who holds as much")


async def asker(store: Store, actor: Actor) -> Asker:
    """Who ``actor`` is by our own records; raises NotContained for nobody we know."""
    return Asker(*await standing(store, actor))
