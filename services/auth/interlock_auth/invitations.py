"""Invitations into teams: for one e-mail, for a while, for one use. The token is shown once, its hash is kept."""

import hashlib
import secrets
import uuid

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth import names
from interlock_auth.asking import asker
from interlock_auth.directory import Directory
from interlock_auth.errors import NotPermitted, TeamNotFound
from interlock_auth.identity_store import TeamStore
from interlock_auth.models import InvitationRow
from interlock_auth.outlet import Outlet
from interlock_auth.store import Store
from interlock_auth.teams import join, require_to_give_membership, team_for
from interlock_auth.users import MAX_PAGE
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import Conflict, InvalidInput
from interlock_common.messages.common import Empty
from interlock_common.messages.identities import (
    AcceptInvitation,
    Invitation,
    InvitationList,
    Invite,
    IssuedInvitation,
    Team,
    TeamPage,
    WithdrawInvitation,
)

MAX_LIFETIME = 30 * 86400
MAX_WAITING = 500
"""Invitations that wait, of one team."""
_TOKEN_BYTES = 32


class Invitations:
    """Inviting and accepting."""

    def __init__(self, engine: AsyncEngine, directory: Directory, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._directory = directory
        self._outlet = outlet
        self._clock = clock

    async def create(self, request: Invite) -> IssuedInvitation:
        """The answer is the same whether there is a user of that e-mail or not."""
        if not 1 <= request.lifetime <= MAX_LIFETIME:
            raise InvalidInput(f"an invitation lives for 1 to {MAX_LIFETIME} seconds", field="lifetime")
        email, now = names.email(request.email), int(self._clock.time())
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking, team = await team_for(session, request.actor, request.team, "teams.update")
            require_to_give_membership(asking, team.id, owner=request.owner)
            await store.prune_invitations(now)
            if await store.invitation_count(team.id) >= MAX_WAITING:
                raise Conflict(f"at most {MAX_WAITING} invitations of a team wait at a time")
            row = InvitationRow(
                id=str(uuid.uuid4()), team_id=team.id, email=email, owner=request.owner, digest=_digest(token),
                invited_by=asking.name, expires_at=now + request.lifetime,
            )  # fmt: skip
            await store.add(row)
        await self._outlet.record("team.invited", asking.name, team.id, email=email, owner=request.owner)
        return IssuedInvitation(_invitation(row), token)

    async def list(self, request: TeamPage) -> InvitationList:
        """Those that wait; the cursor is the last id of the page before."""
        limit = max(1, min(request.limit, MAX_PAGE))
        async with transaction(self._engine) as session:
            _, team = await team_for(session, request.actor, request.team, "teams.update")
            rows = await TeamStore(session).invitations(team.id, request.cursor, limit + 1)
        page, now = rows[:limit], self._clock.time()
        waiting = tuple(_invitation(row) for row in page if row.expires_at > now)
        return InvitationList(waiting, page[-1].id if len(rows) > limit else None)

    async def withdraw(self, request: WithdrawInvitation) -> Empty:
        async with transaction(self._engine) as session:
            asking, team = await team_for(session, request.actor, request.team, "teams.update")
            if not await TeamStore(session).withdraw_invitation(team.id, request.id):
                raise TeamNotFound("there is no such invitation")
        await self._outlet.record("team.invitation_withdrawn", asking.name, team.id, invitation=request.id)
        return Empty()

    async def accept(self, request: AcceptInvitation) -> Team:
        """Join the team; what is no invitation, not for this user, used or too old is all the same."""
        now = int(self._clock.time())
        async with transaction(self._engine) as session:
            store = TeamStore(session)
            asking = await asker(Store(session), request.actor)
            if asking.reach.server_id is not None:
                raise NotPermitted("a credential for one virtual server joins no team")
            row = await store.take_invitation(_digest(request.token), asking.name, now)
            team = None if row is None else await store.team(row.team_id)
            if row is None or team is None:
                raise TeamNotFound("there is no such invitation for you")
            present = await store.member(team.id, asking.name)
            owner = row.owner or (present is not None and present.owner)
            await join(store, team.id, asking.name, now, owner=owner)
            count = (await store.member_counts([team.id])).get(team.id, 0)
        await self._outlet.record("team.joined", asking.name, team.id, invited_by=row.invited_by, owner=owner)
        await self._directory.publish([asking.name])
        return Team(team.id, team.name, team.description, team.created_by, team.created_at, count)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _invitation(row: InvitationRow) -> Invitation:
    return Invitation(row.id, row.team_id, row.email, row.owner, row.invited_by, row.expires_at)
