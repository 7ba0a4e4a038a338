"""What the catalog keeps of consents: what authorization servers granted, each for one upstream and one principal."""

import hashlib

import msgspec

from interlock_common.messages.common import Actor

NOBODY = ""
"""The principal of what belongs to no user: the gateway's own registration at an upstream's authorization server."""


class Grant(msgspec.Struct, frozen=True):
    """Bucket ``grants``, key ``grant_key(upstream id, principal)``.

    ``sealed`` are the tokens, sealed under the purpose ``grant`` with ``grant_context`` of the same two.
    ``generation`` grows with each version: who refreshes a grant replaces the one it has read, and no newer one.
    """

    sealed: str
    generation: int


class StoreGrant(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.grant.store``: keep a grant; refused where it is another than ``replaces`` by now.

    Without ``replaces`` it is a new consent, which takes the place of any before. ``expires_at`` is when the access
    token does, in seconds since the epoch.
    """

    upstream_id: str
    principal: str
    sealed: str
    scope: str = ""
    expires_at: int = 0
    replaces: int | None = None


class ClaimGrant(msgspec.Struct, frozen=True):
    """``svc.catalog.grant.claim``: nobody but ``holder`` is to refresh this generation, for ``seconds``."""

    upstream_id: str
    principal: str
    generation: int
    holder: str
    seconds: float


class GrantClaim(msgspec.Struct, frozen=True):
    """Whether the claim was given; it is not when another has it, or the grant is another by now."""

    claimed: bool


class RevokeGrant(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.grant.revoke``: forget a grant, if it still is of ``generation`` where one is given."""

    actor: Actor
    upstream_id: str
    principal: str
    generation: int | None = None


class GrantSummary(msgspec.Struct, frozen=True):
    """What is known of a grant without being able to use it; times in seconds since the epoch."""

    upstream_id: str
    upstream_name: str
    principal: str
    scope: str
    granted_at: int
    expires_at: int


class GrantList(msgspec.Struct, frozen=True, omit_defaults=True):
    grants: tuple[GrantSummary, ...]
    next_cursor: str | None = None


def grant_key(upstream_id: str, principal: str) -> str:
    """A grant's key in the bucket; names of principals are not shown there."""
    return f"{upstream_id}.{hashlib.sha256(principal.encode()).hexdigest()}"


def grant_context(upstream_id: str, principal: str) -> bytes:
    """What the tokens of a grant are sealed with, so that they open for nobody and nothing else."""
    return msgspec.json.encode((upstream_id, principal))
