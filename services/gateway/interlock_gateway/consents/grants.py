"""The edge's view of grants: read from the mirror, changed by asking the catalog, which keeps them."""

import asyncio
from collections import OrderedDict
from typing import Protocol

import msgspec
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.errors import NotFound, Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.common import Actor, Empty
from interlock_common.messages.grants import ClaimGrant, Grant, GrantClaim, RevokeGrant, StoreGrant, grant_key
from interlock_common.messages.resources import CONSENTS
from interlock_common.mirror import Mirror

_MAX_AHEAD = 10_000
_ASK_SECONDS = 5.0


class Asking(Protocol):
    """The bus, as far as asking goes."""

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T: ...


class EdgeGrants:
    """Grants as one edge knows them: never older than what it stored or dropped itself."""

    def __init__(self, bus: Asking, mirror: Mirror[Grant]) -> None:
        self._bus = bus
        self._mirror = mirror
        self._ahead: OrderedDict[str, tuple[int, Grant | None]] = OrderedDict()
        """What this edge changed, until the mirror shows it: the generation before which the mirror is behind."""
        self._changes: dict[str, asyncio.Event] = {}
        mirror.on_change(self._changed)

    async def held(self, upstream_id: str, principal: str) -> Grant | None:
        return self._known(grant_key(upstream_id, principal))

    async def newer(self, upstream_id: str, principal: str, generation: int, seconds: float) -> Grant | None:
        key = grant_key(upstream_id, principal)
        async with asyncio.timeout(seconds):
            while (grant := self._known(key)) is not None and grant.generation == generation:
                await self._changes.setdefault(key, asyncio.Event()).wait()
        return grant

    async def claim(self, request: ClaimGrant) -> bool:
        reply = await self._bus.request(subjects.CATALOG_GRANT_CLAIM, request, GrantClaim, timeout=_ASK_SECONDS)
        return reply.claimed

    async def store(self, request: StoreGrant) -> Grant:
        grant = await self._bus.request(subjects.CATALOG_GRANT_STORE, request, Grant, timeout=_ASK_SECONDS)
        self._remember(grant_key(request.upstream_id, request.principal), grant.generation, grant)
        return grant

    async def drop(self, upstream_id: str, principal: str, generation: int) -> None:
        try:
            await self.revoke(RevokeGrant(Actor(principal), upstream_id, principal, generation))
        except NotFound:
            return

    async def revoke(self, request: RevokeGrant) -> None:
        """Have the catalog forget a grant; raises NotFound where there is none."""
        key = grant_key(request.upstream_id, request.principal)
        known = self._known(key)
        await self._bus.request(subjects.CATALOG_GRANT_REVOKE, request, Empty, timeout=_ASK_SECONDS)
        if known is not None:
            self._remember(key, known.generation + 1, None)

    def _known(self, key: str) -> Grant | None:
        shown = self._mirror.get(key)
        ahead = self._ahead.get(key)
        if ahead is None or (shown is not None and shown.generation >= ahead[0]):
            return shown
        return ahead[1]

    def _remember(self, key: str, generation: int, grant: Grant | None) -> None:
        self._ahead[key] = (generation, grant)
        if len(self._ahead) > _MAX_AHEAD:
            self._ahead.popitem(last=False)
        self._wake(key)

    def _changed(self, key: str, grant: Grant | None) -> None:
        ahead = self._ahead.get(key)
        if ahead is not None and (grant is None or grant.generation >= ahead[0]):
            del self._ahead[key]
        self._wake(key)

    def _wake(self, key: str) -> None:
        event = self._changes.pop(key, None)
        if event is not None:
            event.set()


class UsedOnce:
    """What may be used once only, whichever edge it comes to: told by the first writing of its key."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def first(self, key: str, seconds: float) -> bool:
        """Whether this is the first use; raises Unavailable where that cannot be told."""
        try:
            return await kv.create(self._bus, CONSENTS, key, Empty(), ttl=seconds)
        except (NatsError, JetStreamError) as error:
            raise Unavailable(f"whether a page was used cannot be told now: {type(error).__name__}") from error
