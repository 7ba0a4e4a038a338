"""Who sees which rows: the rule of ``visibility.may_see`` as SQL, for pages; a test compares the two."""

from sqlalchemy import false, or_
from sqlalchemy.sql import ColumnElement

from interlock_common.messages.common import Actor
from interlock_gateway.catalog.models import ServerRow, UpstreamRow


def visible_to(actor: Actor, kind: type[UpstreamRow] | type[ServerRow]) -> ColumnElement[bool]:
    """The condition for an actor who is no administrator."""
    mine = (kind.visibility == "private") & (kind.owner == actor.principal) if actor.teams else false()
    return or_(kind.visibility == "public", (kind.visibility == "team") & kind.team.in_(actor.teams), mine)
