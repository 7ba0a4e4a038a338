"""Roles, and who has them: nobody gives what they do not hold."""

from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from interlock_auth import names
from interlock_auth.asking import Asker, asker
from interlock_auth.directory import Directory
from interlock_auth.errors import (
    InUse,
    NameTaken,
    NotAssignable,
    PermissionUnknown,
    RoleNotFound,
    TeamNotFound,
    UserNotFound,
)
from interlock_auth.identity_store import TeamStore
from interlock_auth.models import AssignmentRow, PrincipalRow, RoleRow
from interlock_auth.outlet import Outlet
from interlock_auth.store import Store
from interlock_auth.users import require_another, shown
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.common import Actor, Empty, Page
from interlock_common.messages.identities import AssignRole, ByName, Role, RoleList, SetRole, User
from interlock_common.messages.permissions import BUILT_IN_ROLES, PLATFORM_ADMIN, expand

_MANAGING = "admin.user_management"
_permissions = msgspec.json.Decoder(tuple[str, ...])


class Roles:
    """What is done with roles; whom a change concerns is published before it is answered."""

    def __init__(self, engine: AsyncEngine, directory: Directory, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._directory = directory
        self._outlet = outlet
        self._clock = clock
        self.changed: Callable[[], Awaitable[None]] = _told_nobody
        """Called when what a role opens has changed, for those who publish that beside principals."""

    async def list(self, request: Page) -> RoleList:
        """All of them, the built-in ones first; no secret to anybody who is known here."""
        async with transaction(self._engine) as session:
            await asker(Store(session), request.actor)
            rows = await TeamStore(session).roles()
        return RoleList((*map(_built_in, BUILT_IN_ROLES), *map(_custom, rows)))

    async def create(self, request: SetRole) -> Role:
        name, permissions = names.role_name(request.name), exact(request.permissions)
        row = RoleRow(
            name=name, description=names.description(request.description), created_at=int(self._clock.time()),
            permissions=msgspec.json.encode(permissions).decode(),
        )  # fmt: skip
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking = await self._manager(session, request.actor)
            asking.require_held(permissions)
            if name in BUILT_IN_ROLES or await store.role(name) is not None:
                raise NameTaken(f"there is a role {name} already", name=name)
            await store.add(row)
        await self._outlet.record("role.created", asking.name, name, permissions=permissions)
        return _custom(row)

    async def update(self, request: SetRole) -> Role:
        """Everybody who has the role may do what it says now; both before and after must be held by who changes it."""
        permissions = exact(request.permissions)
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking = await self._manager(session, request.actor)
            before = await _custom_row(store, request.name)
            asking.require_held({*permissions, *_permissions.decode(before.permissions)})
            await store.change_role(request.name, names.description(request.description), permissions)
            holders = await store.holders(request.name)
            await store.settle(holders)
        await self._outlet.record("role.updated", asking.name, request.name, permissions=permissions)
        await self._directory.publish(holders)
        await self.changed()
        return Role(request.name, request.description, permissions)

    async def delete(self, request: ByName) -> Empty:
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking = await self._manager(session, request.actor)
            await _custom_row(store, request.name)
            if holders := await store.holders(request.name):
                raise InUse(f"the role {request.name} is had by {len(holders)}: withdraw it first", name=request.name)
            await store.remove_role(request.name)
        await self._outlet.record("role.deleted", asking.name, request.name)
        await self.changed()
        return Empty()

    async def assign(self, request: AssignRole) -> User:
        """Give a role, for the whole platform or for one team; having it already changes nothing."""
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking, role = await self._authorized(session, request)
            row = await _assignable(store, request, role)
            if role.name == PLATFORM_ADMIN:
                asking.require_unlimited()
                if row.kind == "service":
                    raise NotAssignable("a service account is no platform administrator")
                await store.change_user(row.name, is_admin=True)
            else:
                asking.require_held(role.permissions, request.team)
                await self._give(store, request, asking)
                await store.settle([request.principal])
        return await self._told("role.assigned", asking, request)

    async def withdraw(self, request: AssignRole) -> User:
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking, role = await self._authorized(session, request)
            row = await _user(store, request.principal)
            if role.name == PLATFORM_ADMIN:
                asking.require_unlimited()
                if row.is_admin and row.active:
                    await require_another(store, row.name)
                await store.change_user(row.name, is_admin=False)
            elif not await store.unassign(request.principal, request.role, request.team):
                raise RoleNotFound(f"{request.principal} does not have the role {request.role} there")
            await store.settle([request.principal])
        return await self._told("role.withdrawn", asking, request)

    async def _give(self, store: TeamStore, request: AssignRole, asking: Asker) -> None:
        if await store.assignment(request.principal, request.role, request.team) is None:
            await store.add(AssignmentRow(
                principal=request.principal, role=request.role, team_id=request.team or "", granted_by=asking.name,
                granted_at=int(self._clock.time()),
            ))  # fmt: skip

    async def _told(self, action: str, asking: Asker, request: AssignRole) -> User:
        await self._outlet.record(action, asking.name, request.principal, role=request.role, team=request.team)
        await self._directory.publish([request.principal])
        async with transaction(self._engine) as session:
            return await shown(TeamStore(session), request.principal)

    async def _manager(self, session: AsyncSession, actor: Actor) -> Asker:
        asking = await asker(Store(session), actor)
        asking.require(_MANAGING)
        return asking

    async def _authorized(self, session: AsyncSession, request: AssignRole) -> tuple[Asker, Role]:
        """Who asks and which role, once it is sure that they may give roles there."""
        store = TeamStore(session)
        asking = await asker(Store(session), request.actor)
        if request.team is None:
            asking.require(_MANAGING)
        else:
            if not asking.reaches(request.team) or await store.team(request.team) is None:
                raise TeamNotFound("there is no such team")
            if not asking.may(_MANAGING):
                asking.require("teams.update", request.team)
        if request.role in BUILT_IN_ROLES:
            return asking, _built_in(request.role)
        return asking, _custom(await _custom_row(store, request.role))


async def _told_nobody() -> None:
    return None


def exact(given: tuple[str, ...]) -> tuple[str, ...]:
    """The exact permissions that a role names; raises PermissionUnknown with the nearest ones that there are."""
    permissions, unknown = expand(given)
    if unknown:
        told = [
            f"{name[:100]}, did you mean {' or '.join(near)}" if near else name[:100] for name, near in unknown.items()
        ]
        raise PermissionUnknown(f"there is no permission {'; no permission '.join(told)}", unknown=unknown)
    return permissions


async def _assignable(store: TeamStore, request: AssignRole, role: Role) -> PrincipalRow:
    """Whom the role is for; raises NotAssignable where that role cannot be given to them, or not there."""
    row = await _user(store, request.principal)
    if request.team is None and not role.of_platform:
        raise NotAssignable(f"the role {role.name} is given for a team")
    if request.team is not None:
        if not role.of_team:
            raise NotAssignable(f"the role {role.name} is given for the whole platform only")
        if await store.member(request.team, request.principal) is None:
            raise NotAssignable(f"{request.principal} is not in that team")
    return row


async def _user(store: TeamStore, name: str) -> PrincipalRow:
    row = await store.user(name)
    if row is None:
        raise UserNotFound(f"there is no user {name}")
    return row


async def _custom_row(store: TeamStore, name: str) -> RoleRow:
    if name in BUILT_IN_ROLES:
        raise NotAssignable(f"the role {name} is built in and stays as it is")
    row = await store.role(name)
    if row is None:
        raise RoleNotFound(f"there is no role {name}")
    return row


def _built_in(name: str) -> Role:
    role = BUILT_IN_ROLES[name]
    return Role(role.name, role.description, role.permissions, True, role.of_platform, role.of_team)


def _custom(row: RoleRow) -> Role:
    return Role(row.name, row.description, _permissions.decode(row.permissions))
