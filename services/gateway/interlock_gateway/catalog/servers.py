"""The stories of virtual servers: composed of what their maker sees, shown, changed, deleted."""

import uuid

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import AsyncSession as Session

from interlock_common.database import transaction
from interlock_common.messages.catalog import CreateServer, ServerList, UpdateServer, VirtualServer, server_key
from interlock_common.messages.common import Actor, ById, Empty, Page
from interlock_gateway.catalog import composition, naming, paging
from interlock_gateway.catalog.errors import InvalidComposition, NameTaken, ServerNotFound
from interlock_gateway.catalog.outlet import Outlet
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.server_store import ServerStore
from interlock_gateway.catalog.store import Store
from interlock_gateway.catalog.visibility import may_see, require, require_owner, settled_team, team_of

RECORDED_REFERENCES = 500
"""How many references of a kind an audit record names: a record has to fit a message of the bus."""


class Servers:
    """What can be done with virtual servers, each on behalf of an actor."""

    def __init__(self, engine: AsyncEngine, outlet: Outlet, publisher: Publisher) -> None:
        self._engine = engine
        self._outlet = outlet
        self._publisher = publisher

    async def create(self, request: CreateServer) -> VirtualServer:
        """Compose a server; each reference must lead to what the actor sees now."""
        actor = request.actor
        require(actor, "servers.create", team_of(request))
        server_id = uuid.uuid4().hex if request.id is None else naming.checked_id(request.id)
        server = _composed(server_id, actor.principal, request)
        async with transaction(self._engine) as session:
            await _check(session, actor, server)
            await ServerStore(session).add(server)
            await self._record("server.created", actor, server)
        await self._publisher.publish(server_key(server.id))
        return server

    async def update(self, request: UpdateServer) -> VirtualServer:
        """Compose a server anew, in full; its id and its owner stay."""
        wanted = request.composition
        actor = wanted.actor
        before = await self.get(ById(actor, request.id))
        require_owner(actor, before, "servers.update")
        require(actor, "servers.update", team_of(wanted))
        if wanted.id not in {None, before.id}:
            raise InvalidComposition("the id of a virtual server stays as it is", field="id")
        server = _composed(before.id, before.owner, wanted)
        if server == before:
            return before
        async with transaction(self._engine) as session:
            await _check(session, actor, server)
            if await ServerStore(session).get(server.id) is None:
                raise ServerNotFound("no such virtual server", id=server.id)
            await ServerStore(session).replace(server)
            await self._record("server.changed", actor, server)
        await self._publisher.publish(server_key(server.id))
        return server

    async def get(self, request: ById) -> VirtualServer:
        async with transaction(self._engine) as session:
            server = await ServerStore(session).get(request.id)
        if server is None or not may_see(request.actor, server):
            raise ServerNotFound("no such virtual server", id=request.id)
        return server

    async def list(self, request: Page) -> ServerList:
        """A page in the order of ids."""
        limit = paging.wanted(request.limit)
        async with transaction(self._engine) as session:
            found = await ServerStore(session).page(request.actor, request.cursor, limit + 1)
        return ServerList(*paging.cut(found, limit))

    async def delete(self, request: ById) -> Empty:
        server = await self.get(request)
        actor = request.actor
        require_owner(actor, server, "servers.delete")
        async with transaction(self._engine) as session:
            await ServerStore(session).remove(server.id)
            await self._outlet.record("server.deleted", actor.principal, server.id, name=server.name)
        await self._publisher.publish(server_key(server.id))
        return Empty()

    async def _record(self, action: str, actor: Actor, server: VirtualServer) -> None:
        await self._outlet.record(
            action, actor.principal, server.id, name=server.name, visibility=server.visibility, prefix=server.prefix,
            tools=list(server.tools[:RECORDED_REFERENCES]), resources=list(server.resources[:RECORDED_REFERENCES]),
            prompts=list(server.prompts[:RECORDED_REFERENCES]), upstreams=list(server.upstreams[:RECORDED_REFERENCES]),
        )  # fmt: skip


def _composed(server_id: str, owner: str, request: CreateServer) -> VirtualServer:
    """The server that a request describes; raises what its form is refused with."""
    server = VirtualServer(
        id=server_id,
        name=naming.checked_name(request.name),
        owner=owner,
        tools=tuple(dict.fromkeys(request.tools)),
        resources=tuple(dict.fromkeys(request.resources)),
        templates=tuple(dict.fromkeys(request.templates)),
        prompts=tuple(dict.fromkeys(request.prompts)),
        upstreams=tuple(dict.fromkeys(request.upstreams)),
        prefix=request.prefix,
        aliases=request.aliases,
        visibility=request.visibility,
        team=settled_team(request.actor, request.visibility, request.team),
        description=naming.checked_description(request.description),
        instructions=request.instructions,
        resource=request.resource,
        api_key_only=request.api_key_only,
    )
    composition.check_form(server)
    return server


async def _check(session: Session, actor: Actor, server: VirtualServer) -> None:
    await composition.check_references(Store(session), actor, server)
    if server.resource and await ServerStore(session).holder_of(server.resource) not in {None, server.id}:
        raise NameTaken("the resource identifier is another virtual server's", field="resource")
