"""Teams and who is in them. Teams are known to their members, and to administrators."""

import uuid

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from interlock_auth import names
from interlock_auth.asking import Asker, asker
from interlock_auth.directory import Directory
from interlock_auth.effective import role_of_member
from interlock_auth.errors import LastOwner, NameTaken, TeamNotFound, UserNotFound
from interlock_auth.identity_store import TeamStore
from interlock_auth.models import MembershipRow, TeamRow
from interlock_auth.outlet import Outlet
from interlock_auth.store import Store
from interlock_auth.users import MAX_PAGE
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.common import Actor, ById, Empty, Page
from interlock_common.messages.identities import (
    CreateTeam,
    Member,
    MemberList,
    RemoveMember,
    SetMember,
    Team,
    TeamList,
    TeamPage,
    UpdateTeam,
)
from interlock_common.messages.permissions import BUILT_IN_ROLES


class Teams:
    """What is done with teams; whom a change concerns is published before it is answered."""

    def __init__(self, engine: AsyncEngine, directory: Directory, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._directory = directory
        self._outlet = outlet
        self._clock = clock

    async def create(self, request: CreateTeam) -> Team:
        """A new team with the actor as its owner; a token that names teams does not gain it."""
        name, now = names.team_name(request.name), int(self._clock.time())
        row = TeamRow(
            id=str(uuid.uuid4()), name=name, description=names.description(request.description), created_at=now
        )
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking = await asker(Store(session), request.actor)
            asking.require("teams.create")
            await _require_free(store, name)
            row.created_by = asking.name
            await store.add(row)
            await store.add(MembershipRow(team_id=row.id, principal=asking.name, owner=True, joined_at=now))
            await store.settle([asking.name])
        await self._outlet.record("team.created", asking.name, row.id, name=name)
        await self._directory.publish([asking.name])
        return _team(row, 1)

    async def list(self, request: Page) -> TeamList:
        """Those of the actor, or all for an administrator; the cursor is the last id of the page before."""
        limit = max(1, min(request.limit, MAX_PAGE))
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking = await asker(Store(session), request.actor)
            only = None if asking.reach.teams is None and asking.may("teams.read") else _readable(asking)
            rows = await store.teams(only, request.cursor, limit + 1)
            page = rows[:limit]
            counts = await store.member_counts(row.id for row in page)
        found = tuple(_team(row, counts.get(row.id, 0)) for row in page)
        return TeamList(found, page[-1].id if len(rows) > limit else None)

    async def get(self, request: ById) -> Team:
        async with transaction(self._engine) as session:
            _, row = await team_for(session, request.actor, request.id, "teams.read")
            counts = await TeamStore(session).member_counts([row.id])
        return _team(row, counts.get(row.id, 0))

    async def update(self, request: UpdateTeam) -> Team:
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking, row = await team_for(session, request.actor, request.id, "teams.update")
            name = row.name if request.name is None else names.team_name(request.name)
            about = row.description if request.description is None else names.description(request.description)
            if name != row.name:
                await _require_free(store, name)
            await store.change_team(row.id, name, about)
            counts = await store.member_counts([row.id])
        await self._outlet.record("team.updated", asking.name, row.id, name=name)
        return Team(row.id, name, about, row.created_by, row.created_at, counts.get(row.id, 0))

    async def delete(self, request: ById) -> Empty:
        """What belongs to the team stays, and is seen by its owners and administrators only."""
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking, row = await team_for(session, request.actor, request.id, "teams.delete")
            members = await store.remove_team(row.id)
            await store.settle(members)
        await self._outlet.record("team.deleted", asking.name, row.id, name=row.name)
        await self._directory.publish(members)
        return Empty()

    async def members(self, request: TeamPage) -> MemberList:
        """By name; the cursor is the last name of the page before."""
        limit = max(1, min(request.limit, MAX_PAGE))
        async with transaction(self._engine) as session:
            _, team = await team_for(session, request.actor, request.team, "teams.read")
            rows = await TeamStore(session).members(team.id, request.cursor, limit + 1)
        page = rows[:limit]
        return MemberList(tuple(map(_member, page)), page[-1].principal if len(rows) > limit else None)

    async def set_member(self, request: SetMember) -> Member:
        """Make a member an owner, or no longer one. Who is not in the team is added by who may see users."""
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking, team = await team_for(session, request.actor, request.team, "teams.update")
            require_to_give_membership(asking, team.id, owner=request.owner)
            present = await store.member(team.id, request.principal)
            if present is None:
                asking.require("users.read")
                if await store.user(request.principal) is None:
                    raise UserNotFound(f"there is no user {request.principal}")
            elif present.owner and not request.owner:
                await _require_other_owner(store, team.id, request.principal)
            member = await join(store, team.id, request.principal, int(self._clock.time()), owner=request.owner)
        await self._outlet.record(
            "team.member_set", asking.name, team.id, member=request.principal, owner=request.owner
        )
        await self._directory.publish([request.principal])
        return member

    async def remove_member(self, request: RemoveMember) -> Empty:
        """Somebody leaves, with the roles they had in the team, or is sent away."""
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            leaving = request.principal == request.actor.principal
            asking, team = await team_for(
                session, request.actor, request.team, "teams.read" if leaving else "teams.update"
            )
            member = await store.member(team.id, request.principal)
            if member is None:
                raise TeamNotFound(f"{request.principal} is not in that team")
            if member.owner:
                await _require_other_owner(store, team.id, request.principal)
            await store.remove_member(team.id, request.principal)
            await store.settle([request.principal])
        await self._outlet.record("team.member_removed", asking.name, team.id, member=request.principal)
        await self._directory.publish([request.principal])
        return Empty()


async def team_for(session: AsyncSession, actor: Actor, team_id: str, permission: str) -> tuple[Asker, TeamRow]:
    """Who asks, and the team, held for this transaction; a team one does not reach does not exist."""
    asking = await asker(Store(session), actor)
    row = await TeamStore(session).team(team_id)
    if row is None or not asking.reaches(team_id):
        raise TeamNotFound("there is no such team")
    asking.require(permission, team_id)
    return asking, row


def require_to_give_membership(asking: Asker, team: str, *, owner: bool) -> None:
    """Being in a team comes with a role there, and nobody gives what they do not hold."""
    asking.require_held(BUILT_IN_ROLES[role_of_member(owner=owner)].permissions, team)


async def join(store: TeamStore, team: str, principal: str, now: int, *, owner: bool) -> Member:
    """Put someone into a team, or change what they are there, and settle what they may do."""
    present = await store.member(team, principal)
    if present is None:
        await store.add(MembershipRow(team_id=team, principal=principal, owner=owner, joined_at=now))
    elif present.owner != owner:
        await store.set_owner(team, principal, owner=owner)
    await store.settle([principal])
    return Member(principal, owner, present.joined_at if present is not None else now)


def _readable(asking: Asker) -> set[str]:
    """The teams of the asker that the credential lets it read."""
    reachable = asking.reach.teams if asking.reach.teams is not None else set(asking.principal.teams)
    return {team for team in reachable if asking.may("teams.read", team)}


async def _require_free(store: TeamStore, name: str) -> None:
    if await store.team_called(name) is not None:
        raise NameTaken(f"there is a team {name} already", name=name)


async def _require_other_owner(store: TeamStore, team: str, principal: str) -> None:
    if not await store.owners(team) - {principal}:
        raise LastOwner(f"{principal} is the last owner of the team: make someone else one first, or delete the team")


def _team(row: TeamRow, member_count: int) -> Team:
    return Team(row.id, row.name, row.description, row.created_by, row.created_at, member_count)


def _member(row: MembershipRow) -> Member:
    return Member(row.principal, row.owner, row.joined_at)
