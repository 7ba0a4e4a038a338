"""Who an actor is and what it holds, by our own records."""

import msgspec

from interlock_auth.containment import Grant, Reach, reach_of_actor, reach_of_token
from interlock_auth.errors import NotContained
from interlock_auth.models import PrincipalRow, TokenRow
from interlock_auth.store import Store
from interlock_common.messages.auth import Principal, Scopes
from interlock_common.messages.common import Actor

_names = msgspec.json.Decoder(tuple[str, ...])
_names_by_team = msgspec.json.Decoder(dict[str, tuple[str, ...]])


async def standing(store: Store, actor: Actor) -> tuple[Principal, Reach]:
    """The actor's principal, and what the credential it came with opens.

    The principal and, where it came with one, the token are ours, so our records decide. Only of someone who
    came without a token, such as with a client certificate, the edge's word limits what the principal holds.
    """
    principal, reach, _ = await standing_and_token(store, actor, None)
    return principal, reach


async def standing_and_token(
    store: Store, actor: Actor, token_id: str | None
) -> tuple[Principal, Reach, TokenRow | None]:
    """The same, with a token of whomever, for those who are in a hurry."""
    held = await store.holder(actor.principal, actor.token_id, token_id)
    if held is None or not held.principal.active:
        raise NotContained(f"{actor.principal} is not an active principal here and holds nothing")
    principal, parent = principal_of(held.principal), held.token
    if actor.token_id is None:
        principal = msgspec.structs.replace(principal, is_admin=principal.is_admin and actor.is_admin)
        return principal, reach_of_actor(principal, actor), held.other
    if parent is None or parent.principal != principal.name:
        raise NotContained("the token that asks was not minted here, so what it holds is not known")
    teams = {*principal.teams, *(() if parent.teams is None else _names.decode(parent.teams))}
    revoked = held.revoked or parent.created_at < held.revoked_before
    if revoked or (teams and await store.covered([("team", team) for team in sorted(teams)], parent.created_at)):
        raise NotContained("the token that asks is revoked")
    return principal, reach_of_token(principal, grant_of(parent)), held.other


def principal_of(row: PrincipalRow) -> Principal:
    """A principal as the mirrors know it, without its password."""
    names = _names.decode
    in_teams = _names_by_team.decode(row.team_permissions)
    return Principal(row.name, row.active, row.is_admin, names(row.teams), names(row.permissions), in_teams)


def grant_of(row: TokenRow) -> Grant:
    """What a token of ours was minted with, or narrowed to since."""
    scopes = msgspec.json.decode(row.scopes, type=Scopes)
    return Grant(scopes, None if row.teams is None else _names.decode(row.teams))
