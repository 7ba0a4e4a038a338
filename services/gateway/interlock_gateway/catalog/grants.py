"""The stories of grants: kept for their principals, refreshed by one at a time, shown without what is secret, revoked.

A grant is in the bucket before its transaction commits: tokens that were replaced at their authorization server are
of no use any more, so it must not be possible that only the old ones are stored.
"""

from collections.abc import Mapping

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.common import Actor, Empty, Page
from interlock_common.messages.grants import (
    NOBODY,
    ClaimGrant,
    Grant,
    GrantClaim,
    GrantList,
    GrantSummary,
    RevokeGrant,
    StoreGrant,
    grant_key,
)
from interlock_gateway.catalog import paging
from interlock_gateway.catalog.errors import GrantChanged, GrantNotFound, InvalidRegistration, NotAllowed
from interlock_gateway.catalog.grant_store import GrantStore
from interlock_gateway.catalog.outlet import GrantOutlet
from interlock_gateway.catalog.publishing import digest_of

_MAX_SEALED = 128 * 1024
_MAX_PRINCIPAL = 320
_MAX_CLAIM_SECONDS = 60.0
_BATCH = 200
_FIRST = ("", "")


class Grants:
    """What can be done with grants; nothing here opens one."""

    def __init__(self, engine: AsyncEngine, outlet: GrantOutlet, clock: Clock) -> None:
        self._engine = engine
        self._outlet = outlet
        self._clock = clock

    async def held(self, upstream_id: str, principal: str) -> Grant | None:
        async with transaction(self._engine) as session:
            return await GrantStore(session).grant(upstream_id, principal)

    async def store(self, request: StoreGrant) -> Grant:
        """Keep a grant; raises GrantChanged where it is another by now, GrantNotFound without its upstream."""
        if len(request.sealed) > _MAX_SEALED or len(request.principal) > _MAX_PRINCIPAL:
            raise InvalidRegistration("a grant is bounded in size", field="sealed")
        try:
            async with transaction(self._engine) as session:
                store = GrantStore(session)
                grant = await store.write(request, int(self._clock.time()))
                if grant is None:
                    raise GrantChanged("the grant has been replaced or revoked meanwhile")
                if request.replaces is None and request.principal != NOBODY:
                    await store.hurry(request.upstream_id, request.principal)
                    await self._outlet.record(
                        "grant.stored", request.principal, request.upstream_id, scope=request.scope
                    )
                await self._outlet.show_grant(grant_key(request.upstream_id, request.principal), grant)
        except IntegrityError:
            raise GrantNotFound("there is no such upstream, or its grant was stored by somebody else") from None
        return grant

    async def claim(self, request: ClaimGrant) -> GrantClaim:
        now = int(self._clock.time() * 1000)
        until = now + int(min(max(request.seconds, 0.0), _MAX_CLAIM_SECONDS) * 1000)
        async with transaction(self._engine) as session:
            claimed = await GrantStore(session).claim(
                request.upstream_id, request.principal, request.generation, request.holder, now, until
            )
        return GrantClaim(claimed)

    async def list(self, request: Page) -> GrantList:
        """The actor's grants; an administrator sees everybody's."""
        limit = paging.wanted(request.limit)
        whose = None if request.actor.is_admin else request.actor.principal
        async with transaction(self._engine) as session:
            found = await GrantStore(session).listed(whose, _place(request.cursor), limit + 1)
        page = found[:limit]
        return GrantList(tuple(page), _cursor(page[-1]) if len(found) > limit else None)

    async def revoke(self, request: RevokeGrant) -> Empty:
        """Forget a grant: one's own, or anybody's for an administrator."""
        actor, principal = request.actor, request.principal
        if principal != actor.principal and not actor.is_admin:
            raise NotAllowed("only who gave a grant, or an administrator, may revoke it")
        async with transaction(self._engine) as session:
            if not await GrantStore(session).remove(request.upstream_id, principal, request.generation):
                raise GrantNotFound("there is no such grant")
            await self._outlet.record("grant.revoked", actor.principal, request.upstream_id, principal=principal)
            await self._outlet.hide_grant(grant_key(request.upstream_id, principal))
        return Empty()

    async def forget(self, upstream_id: str, actor: Actor) -> None:
        """Forget all that was granted for an upstream, which is about to be deleted."""
        async with transaction(self._engine) as session:
            store = GrantStore(session)
            for principal in await store.of_upstream(upstream_id):
                await store.remove(upstream_id, principal, None)
                if principal != NOBODY:
                    await self._outlet.record("grant.revoked", actor.principal, upstream_id, principal=principal)
                await self._outlet.hide_grant(grant_key(upstream_id, principal))

    async def reconcile(self, published: Mapping[str, bytes]) -> int:
        """Bring the bucket to what the database holds; answers how many keys that took."""
        wanted: set[str] = set()
        written = 0
        after = _FIRST
        while True:
            async with transaction(self._engine) as session:
                batch = await GrantStore(session).batch(after, _BATCH)
            for upstream_id, principal, grant in batch:
                after = (upstream_id, principal)
                key = grant_key(upstream_id, principal)
                wanted.add(key)
                if published.get(key) != digest_of(msgspec.json.encode(grant)):
                    await self._outlet.show_grant(key, grant)
                    written += 1
            if len(batch) < _BATCH:
                break
        for key in sorted(published.keys() - wanted):
            await self._outlet.hide_grant(key)
        return written + len(published.keys() - wanted)


def _cursor(last: GrantSummary) -> str:
    return msgspec.json.encode((last.upstream_id, last.principal)).hex()


def _place(cursor: str | None) -> tuple[str, str]:
    if cursor is None:
        return _FIRST
    try:
        return msgspec.json.decode(bytes.fromhex(cursor), type=tuple[str, str])
    except (ValueError, msgspec.DecodeError):
        raise InvalidRegistration("the cursor is none of this list", field="cursor") from None
