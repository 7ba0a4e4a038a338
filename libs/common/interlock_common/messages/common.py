"""What several contracts use."""

import msgspec


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """On whose behalf a service asks another: the verified principal, as the edge saw it.

    ``team_permissions`` count, beside ``permissions``, for what belongs to that team. ``bound_to`` is the certificate
    (``x5t#S256``) that the token of the actor is bound to.
    """

    principal: str
    is_admin: bool = False
    teams: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    token_id: str | None = None
    team_permissions: dict[str, tuple[str, ...]] = {}
    bound_to: str | None = None

    def may(self, permission: str, team: str | None = None) -> bool:
        """Whether ``permission`` is held, for what belongs to ``team`` where one is named."""
        held = (*self.permissions, *(self.team_permissions.get(team, ()) if team is not None else ()))
        return self.is_admin or permission in held or "*" in held


class Empty(msgspec.Struct, frozen=True):
    """A request or a reply that says nothing more."""


class ById(msgspec.Struct, frozen=True):
    """A request about one thing."""

    actor: Actor
    id: str


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request for one page of a list; the cursor is what the page before it answered."""

    actor: Actor
    cursor: str | None = None
    limit: int = 100
