"""Grants for the catalog itself, which looks at an upstream with the grant of whoever registered it."""

import asyncio

from interlock_common.clock import Clock
from interlock_common.errors import NotFound
from interlock_common.messages.common import Actor
from interlock_common.messages.grants import ClaimGrant, Grant, RevokeGrant, StoreGrant
from interlock_gateway.catalog.grants import Grants

_AGAIN_SECONDS = 0.5


class OwnGrants:
    """Reads and writes where the grants are kept, without asking over the bus."""

    def __init__(self, grants: Grants, clock: Clock) -> None:
        self._grants = grants
        self._clock = clock

    async def held(self, upstream_id: str, principal: str) -> Grant | None:
        return await self._grants.held(upstream_id, principal)

    async def newer(self, upstream_id: str, principal: str, generation: int, seconds: float) -> Grant | None:
        async with asyncio.timeout(seconds):
            while (grant := await self.held(upstream_id, principal)) is not None and grant.generation == generation:
                await self._clock.sleep(_AGAIN_SECONDS)
        return grant

    async def claim(self, request: ClaimGrant) -> bool:
        return (await self._grants.claim(request)).claimed

    async def store(self, request: StoreGrant) -> Grant:
        return await self._grants.store(request)

    async def drop(self, upstream_id: str, principal: str, generation: int) -> None:
        try:
            await self._grants.revoke(RevokeGrant(Actor(principal), upstream_id, principal, generation))
        except NotFound:
            return
