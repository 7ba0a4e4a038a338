"""All SQL about users, teams and roles. Whoever calls owns the transaction.

What a principal may do is kept with it as memberships and roles come to; every change of those ends in ``settle``.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, delete, false, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from interlock_auth.effective import RolesOf, effective
from interlock_auth.models import AssignmentRow, InvitationRow, MembershipRow, PrincipalRow, RoleRow, TeamRow
from interlock_common.messages.permissions import BUILT_IN_ROLES

_names = msgspec.json.Decoder(tuple[str, ...])


class IdentityStore:
    """The tables of identities, within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # users

    async def user(self, name: str) -> PrincipalRow | None:
        """A user that was not deleted, held for this transaction."""
        query = select(PrincipalRow).where(PrincipalRow.name == name, PrincipalRow.deleted_at.is_(None))
        return await self._held(query)

    async def users(self, after: str | None, limit: int) -> Sequence[PrincipalRow]:
        query = select(PrincipalRow).where(PrincipalRow.deleted_at.is_(None)).order_by(PrincipalRow.name).limit(limit)
        if after is not None:
            query = query.where(PrincipalRow.name > after)
        return (await self._session.scalars(query)).all()

    async def active_administrators(self) -> set[str]:
        """Their names, held for this transaction, so that two cannot leave at the same time."""
        await self._begin_writing()
        query = select(PrincipalRow.name).where(PrincipalRow.is_admin, PrincipalRow.active)
        return set(await self._session.scalars(query.order_by(PrincipalRow.name).with_for_update()))

    async def roles_of(self, names: Iterable[str]) -> dict[str, RolesOf]:
        """Memberships and assignments of several principals."""
        found = {name: RolesOf() for name in names}
        members = select(MembershipRow).where(MembershipRow.principal.in_(found))
        for row in await self._session.scalars(members.order_by(MembershipRow.joined_at, MembershipRow.team_id)):
            found[row.principal].memberships.append((row.team_id, row.owner))
        assigned = select(AssignmentRow).where(AssignmentRow.principal.in_(found))
        for row in await self._session.scalars(assigned.order_by(AssignmentRow.role, AssignmentRow.team_id)):
            found[row.principal].assignments.append((row.role, row.team_id or None))
        return found

    async def settle(self, names: Iterable[str]) -> None:
        """Bring what principals may do in line with their memberships and roles, as changed in this transaction."""
        for name in sorted(set(names)):
            if await self.user(name) is None:
                continue
            roles = (await self.roles_of([name]))[name]
            teams, permissions, in_teams = effective(roles, await self._permissions_of(roles.named()))
            await self.change_user(
                name, teams=_json(teams), permissions=_json(permissions), team_permissions=_json(in_teams)
            )

    async def change_user(self, name: str, **values: Any) -> None:
        changed = update(PrincipalRow).where(PrincipalRow.name == name)
        await self._session.execute(changed.values(version=PrincipalRow.version + 1, **values))

    async def forget_roles(self, name: str) -> None:
        """Memberships, roles and invitations of a user who goes."""
        await self._session.execute(delete(MembershipRow).where(MembershipRow.principal == name))
        await self._session.execute(delete(AssignmentRow).where(AssignmentRow.principal == name))
        invited = (InvitationRow.email == name) | (InvitationRow.invited_by == name)
        await self._session.execute(delete(InvitationRow).where(invited))

    # what the bucket has of them

    async def unpublished(self) -> Sequence[str]:
        query = select(PrincipalRow.name).where(PrincipalRow.published_version < PrincipalRow.version)
        return (await self._session.scalars(query.order_by(PrincipalRow.name))).all()

    async def versions(self) -> dict[str, int]:
        rows = await self._session.execute(select(PrincipalRow.name, PrincipalRow.version))
        return {row.name: row.version for row in rows}

    async def mark_published(self, name: str, version: int) -> bool:
        """Whether ``version`` is the newest, so that nothing is left to publish."""
        marked = update(PrincipalRow).where(PrincipalRow.name == name, PrincipalRow.version == version)
        return await self._touched(marked.values(published_version=version).returning(PrincipalRow.name))

    # roles

    async def role(self, name: str) -> RoleRow | None:
        """A custom role, held for this transaction: what it grants does not change meanwhile."""
        return await self._held(select(RoleRow).where(RoleRow.name == name))

    async def roles(self) -> Sequence[RoleRow]:
        return (await self._session.scalars(select(RoleRow).order_by(RoleRow.name))).all()

    async def add(self, row: TeamRow | RoleRow | InvitationRow | MembershipRow | AssignmentRow) -> None:
        self._session.add(row)
        await self._session.flush()

    async def change_role(self, name: str, description: str, permissions: tuple[str, ...]) -> None:
        changed = update(RoleRow).where(RoleRow.name == name)
        await self._session.execute(changed.values(description=description, permissions=_json(permissions)))

    async def remove_role(self, name: str) -> None:
        await self._session.execute(delete(RoleRow).where(RoleRow.name == name))

    async def holders(self, role: str) -> Sequence[str]:
        query = select(AssignmentRow.principal).where(AssignmentRow.role == role).distinct()
        return (await self._session.scalars(query.order_by(AssignmentRow.principal))).all()

    async def assignment(self, principal: str, role: str, team: str | None) -> AssignmentRow | None:
        return await self._session.get(AssignmentRow, (principal, role, team or ""))

    async def unassign(self, principal: str, role: str, team: str | None) -> bool:
        of_them = (AssignmentRow.principal == principal, AssignmentRow.role == role)
        gone = delete(AssignmentRow).where(*of_them, AssignmentRow.team_id == (team or ""))
        return await self._touched(gone.returning(AssignmentRow.role))

    async def _permissions_of(self, roles: Iterable[str]) -> dict[str, tuple[str, ...]]:
        custom = await self._session.scalars(select(RoleRow).where(RoleRow.name.in_(tuple(roles))))
        known = {row.name: _names.decode(row.permissions) for row in custom}
        return known | {name: role.permissions for name, role in BUILT_IN_ROLES.items()}

    async def _held[T](self, query: Select[T]) -> T | None:
        """A row that others wait for until this transaction ends, read anew."""
        await self._begin_writing()
        return await self._session.scalar(query.with_for_update().execution_options(populate_existing=True))

    async def _begin_writing(self) -> None:
        """SQLite knows no locks on rows: there, whoever reads in order to write is the only writer from now on."""
        if self._session.get_bind().dialect.name == "sqlite":
            await self._session.execute(update(PrincipalRow).where(false()).values(version=PrincipalRow.version))

    async def _touched(self, statement: Any) -> bool:
        return (await self._session.execute(statement)).first() is not None


class TeamStore(IdentityStore):
    """The same, and teams."""

    async def team(self, team_id: str) -> TeamRow | None:
        """A team, held for this transaction: its members change one after the other."""
        return await self._held(select(TeamRow).where(TeamRow.id == team_id))

    async def team_called(self, name: str) -> TeamRow | None:
        return await self._session.scalar(select(TeamRow).where(TeamRow.name == name))

    async def teams(self, only: Iterable[str] | None, after: str | None, limit: int) -> Sequence[TeamRow]:
        query = select(TeamRow).order_by(TeamRow.id).limit(limit)
        if only is not None:
            query = query.where(TeamRow.id.in_(tuple(only)))
        if after is not None:
            query = query.where(TeamRow.id > after)
        return (await self._session.scalars(query)).all()

    async def member_counts(self, teams: Iterable[str]) -> dict[str, int]:
        query = select(MembershipRow.team_id, func.count()).where(MembershipRow.team_id.in_(tuple(teams)))
        return {team: int(count) for team, count in await self._session.execute(query.group_by(MembershipRow.team_id))}

    async def change_team(self, team_id: str, name: str, description: str) -> None:
        changed = update(TeamRow).where(TeamRow.id == team_id)
        await self._session.execute(changed.values(name=name, description=description))

    async def remove_team(self, team_id: str) -> Sequence[str]:
        """Who was in it."""
        members = await self._session.scalars(select(MembershipRow.principal).where(MembershipRow.team_id == team_id))
        names = members.all()
        await self._session.execute(delete(AssignmentRow).where(AssignmentRow.team_id == team_id))
        await self._session.execute(delete(TeamRow).where(TeamRow.id == team_id))  # members and invitations go with it
        return names

    # members

    async def member(self, team_id: str, principal: str) -> MembershipRow | None:
        return await self._session.get(MembershipRow, (team_id, principal), populate_existing=True)

    async def members(self, team_id: str, after: str | None, limit: int) -> Sequence[MembershipRow]:
        query = select(MembershipRow).where(MembershipRow.team_id == team_id).order_by(MembershipRow.principal)
        if after is not None:
            query = query.where(MembershipRow.principal > after)
        return (await self._session.scalars(query.limit(limit))).all()

    async def owners(self, team_id: str) -> set[str]:
        query = select(MembershipRow.principal).where(MembershipRow.team_id == team_id, MembershipRow.owner)
        return set(await self._session.scalars(query))

    async def set_owner(self, team_id: str, principal: str, *, owner: bool) -> None:
        of_them = (MembershipRow.team_id == team_id, MembershipRow.principal == principal)
        await self._session.execute(update(MembershipRow).where(*of_them).values(owner=owner))

    async def remove_member(self, team_id: str, principal: str) -> None:
        """With the roles they have in the team, and the invitations they sent."""
        for table, name in ((MembershipRow, MembershipRow.principal), (AssignmentRow, AssignmentRow.principal)):
            await self._session.execute(delete(table).where(table.team_id == team_id, name == principal))
        sent = (InvitationRow.team_id == team_id, InvitationRow.invited_by == principal)
        await self._session.execute(delete(InvitationRow).where(*sent))

    # invitations

    async def invitations(self, team_id: str, after: str | None, limit: int) -> Sequence[InvitationRow]:
        query = select(InvitationRow).where(InvitationRow.team_id == team_id).order_by(InvitationRow.id)
        if after is not None:
            query = query.where(InvitationRow.id > after)
        return (await self._session.scalars(query.limit(limit))).all()

    async def invitation_count(self, team_id: str) -> int:
        query = select(func.count()).select_from(InvitationRow).where(InvitationRow.team_id == team_id)
        return int(await self._session.scalar(query) or 0)

    async def take_invitation(self, digest: bytes, email: str, now: int) -> InvitationRow | None:
        """The invitation of that token and e-mail, which is gone by being taken: of several at once, one gets it."""
        found = (InvitationRow.digest == digest, InvitationRow.email == email, InvitationRow.expires_at > now)
        return await self._session.scalar(delete(InvitationRow).where(*found).returning(InvitationRow))

    async def withdraw_invitation(self, team_id: str, invitation_id: str) -> bool:
        found = (InvitationRow.team_id == team_id, InvitationRow.id == invitation_id)
        return await self._touched(delete(InvitationRow).where(*found).returning(InvitationRow.id))

    async def prune_invitations(self, now: int) -> None:
        await self._session.execute(delete(InvitationRow).where(InvitationRow.expires_at <= now))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
