"""All SQL of virtual servers; whoever handles the request opens the transaction."""

from typing import Any, cast

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_common.messages.catalog import Naming, VirtualServer, Visibility
from interlock_common.messages.common import Actor
from interlock_gateway.catalog.errors import NameTaken
from interlock_gateway.catalog.models import ServerRow
from interlock_gateway.catalog.visible_rows import visible_to


class ServerStore:
    """The table of virtual servers in one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, server: VirtualServer) -> None:
        """Raises NameTaken when the name or the id is in use."""
        self._session.add(ServerRow(id=server.id, **_columns(server)))
        try:
            await self._session.flush()
        except IntegrityError:
            raise _taken(server) from None

    async def replace(self, server: VirtualServer) -> None:
        """Store ``server`` in place of what its id stands for; raises NameTaken when the name is in use."""
        try:
            await self._session.execute(update(ServerRow).where(ServerRow.id == server.id).values(**_columns(server)))
        except IntegrityError:
            raise _taken(server) from None

    async def get(self, server_id: str) -> VirtualServer | None:
        row = await self._session.get(ServerRow, server_id)
        return None if row is None else _server(row)

    async def page(self, actor: Actor, after: str | None, limit: int) -> list[VirtualServer]:
        """A page of what ``actor`` may see, in the order of their ids."""
        query = select(ServerRow).order_by(ServerRow.id).limit(limit)
        if after is not None:
            query = query.where(ServerRow.id > after)
        if not actor.is_admin:
            query = query.where(visible_to(actor, ServerRow))
        return [_server(row) for row in (await self._session.execute(query)).scalars()]

    async def ids(self) -> list[str]:
        return list((await self._session.execute(select(ServerRow.id))).scalars())

    async def remove(self, server_id: str) -> None:
        await self._session.execute(delete(ServerRow).where(ServerRow.id == server_id))

    async def holder_of(self, resource: str) -> str | None:
        """The id of the server whose OAuth resource identifier is ``resource``."""
        query = select(ServerRow.id).where(ServerRow.resource == resource).limit(1)
        return (await self._session.execute(query)).scalar_one_or_none()


def _taken(server: VirtualServer) -> NameTaken:
    return NameTaken(f"a virtual server with the name {server.name} or the id {server.id} exists already")


def _columns(server: VirtualServer) -> dict[str, Any]:
    return {
        "name": server.name, "description": server.description, "owner": server.owner, "tools": list(server.tools),
        "resources": list(server.resources), "templates": list(server.templates), "prompts": list(server.prompts),
        "upstreams": list(server.upstreams), "prefix": server.prefix, "aliases": server.aliases,
        "visibility": server.visibility, "team": server.team, "instructions": server.instructions,
        "resource": server.resource, "api_key_only": server.api_key_only,
    }  # fmt: skip


def _server(row: ServerRow) -> VirtualServer:
    return VirtualServer(
        id=row.id, name=row.name, owner=row.owner, tools=tuple(row.tools), resources=tuple(row.resources),
        templates=tuple(row.templates), prompts=tuple(row.prompts), upstreams=tuple(row.upstreams),
        prefix=cast("Naming", row.prefix), aliases=row.aliases, visibility=cast("Visibility", row.visibility),
        team=row.team, description=row.description, instructions=row.instructions, resource=row.resource,
        api_key_only=row.api_key_only,
    )  # fmt: skip
