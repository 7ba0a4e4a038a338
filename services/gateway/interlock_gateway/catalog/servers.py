"""The stories of virtual servers: composed of tools that their maker sees, shown, deleted."""

import uuid

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.database import transaction
from interlock_common.messages.catalog import CreateServer, ServerList, VirtualServer, server_key
from interlock_common.messages.common import Actor, ById, Empty, Page
from interlock_gateway.catalog import naming, paging
from interlock_gateway.catalog.errors import InvalidName, ServerNotFound, UnknownReference
from interlock_gateway.catalog.outlet import Outlet
from interlock_gateway.catalog.publishing import Publisher
from interlock_gateway.catalog.store import Store
from interlock_gateway.catalog.visibility import may_see, require, require_owner, settled_team

MAX_REFERENCES = 2_000


class Servers:
    """What can be done with virtual servers, each on behalf of an actor."""

    def __init__(self, engine: AsyncEngine, outlet: Outlet, publisher: Publisher) -> None:
        self._engine = engine
        self._outlet = outlet
        self._publisher = publisher

    async def create(self, request: CreateServer) -> VirtualServer:
        """Compose a server; each reference must lead to what the actor sees now."""
        actor = request.actor
        require(actor, "servers.create")
        if len(request.tools) + len(request.upstreams) > MAX_REFERENCES:
            raise InvalidName(f"a virtual server has at most {MAX_REFERENCES} references", field="tools")
        server = VirtualServer(
            id=uuid.uuid4().hex if request.id is None else naming.checked_id(request.id),
            name=naming.checked_name(request.name),
            owner=actor.principal,
            tools=tuple(dict.fromkeys(request.tools)),
            upstreams=tuple(dict.fromkeys(request.upstreams)),
            prefix=request.prefix,
            visibility=request.visibility,
            team=settled_team(actor, request.visibility, request.team),
            description=naming.checked_description(request.description),
        )
        async with transaction(self._engine) as session:
            store = Store(session)
            await _check_references(store, actor, server)
            await store.add_server(server)
            await self._outlet.record(
                "server.created", actor.principal, server.id, name=server.name, tools=list(server.tools),
                upstreams=list(server.upstreams),
            )  # fmt: skip
        await self._publisher.publish(server_key(server.id))
        return server

    async def get(self, request: ById) -> VirtualServer:
        async with transaction(self._engine) as session:
            server = await Store(session).server(request.id)
        if server is None or not may_see(request.actor, server):
            raise ServerNotFound("no such virtual server", id=request.id)
        return server

    async def list(self, request: Page) -> ServerList:
        """A page in the order of ids."""
        limit = paging.wanted(request.limit)
        async with transaction(self._engine) as session:
            found = await Store(session).servers(request.actor, request.cursor, limit + 1)
        return ServerList(*paging.cut(found, limit))

    async def delete(self, request: ById) -> Empty:
        server = await self.get(request)
        actor = request.actor
        require_owner(actor, server, "servers.delete")
        async with transaction(self._engine) as session:
            await Store(session).remove_server(server.id)
            await self._outlet.record("server.deleted", actor.principal, server.id, name=server.name)
        await self._publisher.publish(server_key(server.id))
        return Empty()


async def _check_references(store: Store, actor: Actor, server: VirtualServer) -> None:
    wanted: dict[str, set[str]] = {upstream_id: set() for upstream_id in server.upstreams}
    for reference in server.tools:
        upstream_id, slash, name = reference.partition("/")
        if not slash:
            raise UnknownReference("a tool is referred to as <upstream id>/<tool name>", tool=reference)
        wanted.setdefault(upstream_id, set()).add(name)
    for upstream_id, names in wanted.items():
        upstream = await store.upstream(upstream_id)
        if upstream is None or not may_see(actor, upstream):
            raise UnknownReference("no such upstream", upstream=upstream_id)
        missing = names - {tool.name for tool in upstream.tools}
        if missing:
            raise UnknownReference("the upstream has no such tool", tool=f"{upstream_id}/{min(missing)}")
