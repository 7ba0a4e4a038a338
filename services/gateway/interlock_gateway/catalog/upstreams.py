"""The stories of upstreams: registered, shown, registered anew, looked at again, accepted, deleted."""

import uuid

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import transaction
from interlock_common.messages.catalog import (
    AcceptDefinition,
    CreateUpstream,
    UpdateUpstream,
    Upstream,
    UpstreamChanged,
    UpstreamList,
    upstream_key,
)
from interlock_common.messages.common import Actor, ById, Empty, Page
from interlock_gateway.catalog import paging, records
from interlock_gateway.catalog.errors import (
    DefinitionChanged,
    DefinitionNotFound,
    UpstreamNotFound,
)
from interlock_gateway.catalog.grants import Grants
from interlock_gateway.catalog.outlet import Outlet
from interlock_gateway.catalog.pinning import Change
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.registering import Registering
from interlock_gateway.catalog.registration import shown
from interlock_gateway.catalog.store import Store
from interlock_gateway.catalog.visibility import may_see, require, require_owner, team_of


class Upstreams:
    """What can be done with upstreams, each on behalf of an actor; nothing sealed is ever answered."""

    def __init__(
        self, engine: AsyncEngine, outlet: Outlet, publisher: Publisher, registering: Registering, grants: Grants
    ) -> None:
        self._engine = engine
        self._outlet = outlet
        self._publisher = publisher
        self._registering = registering
        self._grants = grants

    async def create(self, request: CreateUpstream) -> Upstream:
        """Register an upstream that answers; one that does not is refused with what failed.

        One that dialled in before under its name, for the same owner, is registered anew.
        """
        actor = request.actor
        require(actor, "gateways.create", team_of(request))
        before = await self._dialled_before(request) if request.transport == "reverse" else None
        if before is not None:
            return shown(await self._registering.change(before, request))
        return shown(await self._registering.add(uuid.uuid4().hex, request))

    async def update(self, request: UpdateUpstream) -> Upstream:
        """Register an upstream anew, in full; its id and its owner stay."""
        actor = request.registration.actor
        before = await self._get(actor, request.id)
        require_owner(actor, before, "gateways.update")
        require(actor, "gateways.update", team_of(request.registration))
        return shown(await self._registering.change(before, request.registration))

    async def get(self, request: ById) -> Upstream:
        return shown(await self._get(request.actor, request.id))

    async def list(self, request: Page) -> UpstreamList:
        """A page in the order of ids, without what they offer."""
        limit = paging.wanted(request.limit)
        async with transaction(self._engine) as session:
            found = await Store(session).upstreams(request.actor, request.cursor, limit + 1)
        return UpstreamList(*paging.cut([shown(upstream) for upstream in found], limit))

    async def delete(self, request: ById) -> Empty:
        actor = request.actor
        upstream = await self._get(actor, request.id)
        require_owner(actor, upstream, "gateways.delete")
        await self._grants.forget(upstream.id, actor)
        await self._registering.remove(upstream, actor)
        return Empty()

    async def refresh(self, request: ById) -> Upstream:
        """Look at an upstream now, because somebody asked; the answer says whether it is reachable."""
        actor = request.actor
        upstream = await self._get(actor, request.id)
        # Who dials in has registered what is looked at, and nothing else is changed by a look.
        permission = "gateways.create" if upstream.transport == "reverse" else "gateways.update"
        require_owner(actor, upstream, permission)
        await self._registering.looking.look(upstream.id, actor=actor.principal)
        return await self.get(request)

    async def accept(self, request: AcceptDefinition) -> Empty:
        """Take the present version of a definition for the accepted one; refused when it is another by now."""
        actor = request.actor
        upstream = await self._get(actor, request.upstream_id)
        require_owner(actor, upstream, "gateways.update")
        async with transaction(self._engine) as session:
            store = Store(session)
            await store.begin(upstream.id, self._registering.looking.now())
            pins = await store.pins(upstream.id)
            pin = pins.get((request.kind, request.name))
            if pin is None or pin.gone is not None:
                raise DefinitionNotFound(f"the upstream offers no such {request.kind}", name=request.name[:200])
            if pin.digest != request.digest:
                raise DefinitionChanged(
                    f"the {request.kind} has changed since: look at the version it has now", digest=pin.digest
                )
            accepted = pin.accept()
            if accepted == pin:
                return Empty()
            await store.write_pins(upstream.id, {pin.key: pin}, {pin.key: accepted})
            (piece,) = records.pieces([Change(pin, accepted)])
            await self._outlet.record("definition.accepted", actor.principal, upstream.id, **piece)
        await self._publisher.publish(upstream_key(upstream.id))
        await self._outlet.changed(UpstreamChanged(upstream.id, "accepted", len(upstream.tools)))
        return Empty()

    async def _get(self, actor: Actor, upstream_id: str) -> Upstream:
        async with transaction(self._engine) as session:
            upstream = await Store(session).upstream(upstream_id)
        if upstream is None or not may_see(actor, upstream):
            raise UpstreamNotFound("no such upstream", id=upstream_id)
        return upstream

    async def _dialled_before(self, request: CreateUpstream) -> Upstream | None:
        async with transaction(self._engine) as session:
            upstream = await Store(session).named(request.name.strip())
        if upstream is None or upstream.transport != "reverse" or upstream.owner != request.actor.principal:
            return None
        return upstream
