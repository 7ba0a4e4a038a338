"""How an upstream comes to be registered, registered anew, and removed.

What answers by itself is asked before it is stored: a registration that leads nowhere is refused. A command is
stored first, since a connector runs what the bucket shows; a server that dials in is looked at once it has.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import UpstreamFailed
from interlock_common.messages.catalog import CreateUpstream, Kind, Upstream, UpstreamChanged, upstream_key
from interlock_common.messages.common import Actor
from interlock_gateway.catalog import records, registration
from interlock_gateway.catalog.errors import UpstreamNotFound
from interlock_gateway.catalog.keeping import Keeper
from interlock_gateway.catalog.looking import Looking, presented
from interlock_gateway.catalog.outlet import Outlet
from interlock_gateway.catalog.pinning import Change, Key, Pinned, Settled, settle
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.store import Store
from interlock_gateway.upstreams.discovery.discovery import Discovered

SHOWN_FIRST: frozenset[Kind] = frozenset({"stdio", "reverse"})
"""Kinds that can be asked only after somebody has seen them in the bucket, or dialled in."""
CONSENTING = frozenset({"oauth", "token_exchange"})
"""Credentials that there may be none of before a user was asked."""

NOT_LOOKED_AT = "it was not looked at yet"
_AGAIN_SECONDS = 0.25


class Registering:
    """Stores registrations, publishes and records them."""

    def __init__(
        self,
        engine: AsyncEngine,
        outlet: Outlet,
        publisher: Publisher,
        looking: Looking,
        keeper: Keeper,
        clock: Clock,
        *,
        patience: float,
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self._publisher = publisher
        self._keeper = keeper
        self._clock = clock
        self._patience = patience
        self.looking = looking

    async def add(self, upstream_id: str, request: CreateUpstream) -> Upstream:
        """Register an upstream; raises UpstreamFailed saying what failed where it does not answer."""
        actor = request.actor
        upstream = registration.checked(upstream_id, actor.principal, request)
        upstream = self._keeper.keep(upstream, request.secrets)
        found = await self._asked(upstream)
        if isinstance(found, UpstreamFailed) and upstream.credential.kind not in CONSENTING:
            raise found
        after = _stated(upstream, found)
        settled = self._settled({}, found, first=True)
        async with transaction(self._engine) as session:
            store = Store(session)
            await store.add_upstream(after, at=self.looking.now(), due_at=self._due_at(after))
            await store.write_pins(after.id, {}, settled.pins)
            await self._record("upstream.created", actor, after, settled.changes)
        item = await self._told(after.id, "created")
        if item.transport != "stdio":
            return item
        failed = await self._until_it_answers(item.id, actor)
        if failed is not None and not failed.retryable:
            await self.remove(item, actor)  # it cannot run; what is only slow to start is looked at again
            raise failed
        return await self._stored(item.id)

    async def change(self, before: Upstream, request: CreateUpstream) -> Upstream:
        """Register ``before`` anew.

        Where it leads to the same place, what was accepted of it still counts. Raises UpstreamFailed where the way
        to it changed and it does not answer; nothing changed then.
        """
        upstream = registration.checked(before.id, before.owner, request)
        upstream = self._keeper.keep(upstream, request.secrets, before)
        async with self.looking.turn(before.id):
            found = await self._asked(upstream)
            consenting = upstream.credential.kind in CONSENTING
            if isinstance(found, UpstreamFailed) and _way(upstream) != _way(before) and not consenting:
                raise found
            await self._replace(before, upstream, found, request.actor)
        item = await self._told(before.id, "updated")
        if item.transport == "stdio":
            await self._until_it_answers(item.id, request.actor)
            return await self._stored(item.id)
        return item

    async def remove(self, upstream: Upstream, actor: Actor) -> None:
        async with transaction(self._engine) as session:
            await Store(session).remove_upstream(upstream.id)
            await self._outlet.record("upstream.deleted", actor.principal, upstream.id, name=upstream.name)
        await self._publisher.publish(upstream_key(upstream.id))
        await self._outlet.changed(UpstreamChanged(upstream.id, "deleted"))

    async def _replace(
        self, before: Upstream, upstream: Upstream, found: Discovered | UpstreamFailed | None, actor: Actor
    ) -> None:
        same = registration.same_place(before, upstream)
        async with transaction(self._engine) as session:
            store = Store(session)
            if not await store.begin(before.id, self.looking.now()):
                raise UpstreamNotFound("no such upstream", id=before.id)
            after = _still(upstream, before) if same else upstream
            after = after if same and found is None else _stated(after, found)
            pins = await store.pins(before.id)
            first = not same or not before.protocol_version or upstream.transport == "rest"
            settled = self._settled(pins if same else {}, found, first=first)
            await store.register_anew(after)
            await store.looked_at(after, failures=0 if after.reachable else 1, due_at=self._due_at(after))
            await store.write_pins(before.id, pins, settled.pins)
            lost = (Change(pin, None) for key, pin in pins.items() if key not in settled.pins and pin.gone is None)
            await self._record("upstream.updated", actor, after, (*settled.changes, *lost))

    async def _asked(self, upstream: Upstream) -> Discovered | UpstreamFailed | None:
        """What an upstream answers now; None where it cannot be asked yet."""
        if upstream.transport == "rest":
            revision = registration.REST_REVISION
            return Discovered("modern", revision, upstream.tools, capabilities=b'{"tools":{}}')
        if upstream.transport in SHOWN_FIRST:
            return None
        try:
            return await self.looking.discover(upstream)
        except UpstreamFailed as error:
            return error

    def _settled(self, pins: dict[Key, Pinned], found: Discovered | UpstreamFailed | None, *, first: bool) -> Settled:
        if not isinstance(found, Discovered):
            return Settled(pins, ())
        return settle(pins, found, self.looking.policy, at=self.looking.now(), first=first)

    async def _until_it_answers(self, upstream_id: str, actor: Actor) -> UpstreamFailed | None:
        """Look until a connector has taken it up and it runs, but not for ever; answers what failed at last."""
        ends = self._clock.monotonic() + self._patience
        while True:
            failed = await self.looking.look(upstream_id, actor=actor.principal)
            if failed is None or not failed.retryable or self._clock.monotonic() >= ends:
                return failed
            await self._clock.sleep(_AGAIN_SECONDS)

    async def _told(self, upstream_id: str, change: Literal["created", "updated"]) -> Upstream:
        item = await self._publisher.publish(upstream_key(upstream_id))
        if not isinstance(item, Upstream):
            raise UpstreamNotFound("it was deleted meanwhile", id=upstream_id)
        await self._outlet.changed(UpstreamChanged(upstream_id, change, len(item.tools)))
        return item

    async def _stored(self, upstream_id: str) -> Upstream:
        async with transaction(self._engine) as session:
            upstream = await Store(session).upstream(upstream_id)
        if upstream is None:
            raise UpstreamNotFound("it was deleted meanwhile", id=upstream_id)
        return upstream

    async def _record(self, action: str, actor: Actor, upstream: Upstream, changes: Sequence[Change]) -> None:
        for piece in records.pieces(changes):
            await self._outlet.record(
                action, actor.principal, upstream.id, name=upstream.name, transport=upstream.transport,
                era=upstream.era, credential=upstream.credential.kind, problem=upstream.problem, **piece,
            )  # fmt: skip

    def _due_at(self, upstream: Upstream) -> int:
        return self.looking.due_at(upstream, 0 if upstream.reachable else 1)


def _stated(upstream: Upstream, found: Discovered | UpstreamFailed | None) -> Upstream:
    if found is None:
        return msgspec.structs.replace(upstream, reachable=False, problem=NOT_LOOKED_AT)
    return presented(upstream, found)


def _still(upstream: Upstream, before: Upstream) -> Upstream:
    """A new registration of what was looked at already."""
    return msgspec.structs.replace(
        upstream, era=before.era, protocol_version=before.protocol_version, reachable=before.reachable,
        problem=before.problem, capabilities=before.capabilities, instructions=before.instructions,
    )  # fmt: skip


def _way(upstream: Upstream) -> tuple[object, ...]:
    """All that decides how an upstream is reached."""
    return (
        upstream.transport, upstream.url, upstream.wanted_era, upstream.credential, upstream.tls, upstream.command
    )  # fmt: skip
