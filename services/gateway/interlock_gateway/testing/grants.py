"""Grants for tests: kept in memory as the catalog keeps them, for one edge or several."""

import asyncio
from dataclasses import dataclass, field

from interlock_common.errors import Conflict, NotFound, Unavailable
from interlock_common.messages.common import Actor
from interlock_common.messages.grants import ClaimGrant, Grant, RevokeGrant, StoreGrant


@dataclass
class FakeGrants:
    """The catalog's grants; ``away`` refuses as a lost bus does."""

    kept: dict[tuple[str, str], Grant] = field(default_factory=dict[tuple[str, str], Grant])
    claims: dict[tuple[str, str, int], str] = field(default_factory=dict[tuple[str, str, int], str])
    away: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    last: int = 0

    async def held(self, upstream_id: str, principal: str) -> Grant | None:
        return self.kept.get((upstream_id, principal))

    async def newer(self, upstream_id: str, principal: str, generation: int, seconds: float) -> Grant | None:
        async with asyncio.timeout(seconds):
            while (grant := await self.held(upstream_id, principal)) is not None and grant.generation == generation:
                self.changed.clear()
                await self.changed.wait()
        return grant

    async def claim(self, request: ClaimGrant) -> bool:
        self._here()
        key = (request.upstream_id, request.principal, request.generation)
        return self.claims.setdefault(key, request.holder) == request.holder

    async def store(self, request: StoreGrant) -> Grant:
        self._here()
        key = (request.upstream_id, request.principal)
        before = self.kept.get(key)
        if request.replaces is not None and (before is None or before.generation != request.replaces):
            raise Conflict("the grant has been replaced or revoked meanwhile")
        self.last += 1
        grant = self.kept[key] = Grant(request.sealed, self.last)
        self.changed.set()
        return grant

    async def drop(self, upstream_id: str, principal: str, generation: int) -> None:
        try:
            await self.revoke(RevokeGrant(Actor(principal), upstream_id, principal, generation))
        except NotFound:
            return

    async def revoke(self, request: RevokeGrant) -> None:
        self._here()
        key = (request.upstream_id, request.principal)
        before = self.kept.get(key)
        if before is None or request.generation not in {None, before.generation}:
            raise NotFound("there is no such grant")
        del self.kept[key]
        self.changed.set()

    def _here(self) -> None:
        if self.away:
            raise Unavailable("the bus is away")


@dataclass
class FakeOnce:
    """What was used before."""

    used: set[str] = field(default_factory=set[str])

    async def first(self, key: str, seconds: float) -> bool:
        del seconds
        if key in self.used:
            return False
        self.used.add(key)
        return True
