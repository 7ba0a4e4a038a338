"""Who somebody of another authorization server is here: by issuer and subject, which it never gives to two people.

An e-mail links nobody: whoever may set it there, or gets an address that was somebody else's, would be them.
"""

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.asking import asker
from interlock_auth.errors import IssuerNotFound, IssuerRefused, UserNotFound
from interlock_auth.identity_store import IdentityStore
from interlock_auth.issuer_models import IdentityRow
from interlock_auth.issuer_settings import MAX_SUBJECT
from interlock_auth.issuer_store import IssuerStore
from interlock_auth.issuers import PERMISSION
from interlock_auth.outlet import Outlet
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import Conflict
from interlock_common.messages.common import Empty
from interlock_common.messages.issuers import (
    Identity,
    IdentityList,
    IdentityPage,
    LinkedIdentity,
    LinkIdentity,
    UnlinkIdentity,
    identity_key,
)
from interlock_common.messages.resources import IDENTITIES

_MAX_PAGE = 500


class IdentityLinks:
    """What is done with identities; each change is published before it is answered."""

    def __init__(self, engine: AsyncEngine, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._outlet = outlet
        self._clock = clock

    async def link(self, request: LinkIdentity) -> Identity:
        """From now on a subject is a principal of ours; one that is somebody else's already stays theirs."""
        async with transaction(self._engine) as session:
            asking = await asker(IssuerStore(session), request.actor)
            asking.require_unlimited()
            issuer = await _issuer(IssuerStore(session), request.issuer)
            if await IdentityStore(session).user(request.principal) is None:
                raise UserNotFound(f"there is no user {request.principal}")
        return await self.add(issuer, request.subject, request.principal, asking.name)

    async def add(self, issuer: str, subject: str, principal: str, by: str) -> Identity:
        """The same for whoever may; ``issuer`` is the identifier."""
        if not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
            raise IssuerRefused(f"a subject has 1 to {MAX_SUBJECT} printable characters", field="subject")
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            row = await store.identity(issuer, subject)
            if row is not None and row.principal != principal:
                raise Conflict(f"this subject is linked to {row.principal}: unlink it first")
            if row is None:
                now = int(self._clock.time())
                row = IdentityRow(issuer=issuer, subject=subject, principal=principal, linked_by=by, linked_at=now)
                await store.add(row)
        await self._outlet.record("identity.linked", by, principal, issuer=issuer, subject=subject)
        await self._publish(row)
        return _shown(row)

    async def unlink(self, request: UnlinkIdentity) -> Empty:
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            asking = await asker(store, request.actor)
            asking.require_unlimited()
            issuer = await _issuer(store, request.issuer)
            row = await store.identity(issuer, request.subject)
            if row is None:
                raise IssuerNotFound(f"nobody is linked to this subject of {request.issuer}")
            await self._outlet.delete(IDENTITIES, identity_key(issuer, request.subject))
            await store.remove_identity(issuer, request.subject)
        await self._outlet.record(
            "identity.unlinked", asking.name, row.principal, issuer=issuer, subject=request.subject
        )
        return Empty()

    async def list(self, request: IdentityPage) -> IdentityList:
        """By subject; the cursor is the last subject of the page before."""
        limit = max(1, min(request.limit, _MAX_PAGE))
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            asking = await asker(store, request.actor)
            asking.require(PERMISSION)
            rows = await store.identities(await _issuer(store, request.issuer), request.cursor, limit + 1)
        shown = tuple(map(_shown, rows[:limit]))
        return IdentityList(shown, shown[-1].subject if len(rows) > limit else None)

    async def publish(self, *, unpublished_only: bool) -> None:
        """Put identities into the bucket: all as after its loss, or those that the bus did not take."""
        async with transaction(self._engine) as session:
            rows = await IssuerStore(session).all_identities(unpublished_only=unpublished_only)
        for row in rows:
            await self._publish(row)

    async def _publish(self, row: IdentityRow) -> None:
        key = identity_key(row.issuer, row.subject)
        await self._outlet.put(IDENTITIES, key, LinkedIdentity(row.issuer, row.subject, row.principal))
        async with transaction(self._engine) as session:
            store = IssuerStore(session)
            await store.mark_identity_published(row.issuer, row.subject)
            remains = await store.identity(row.issuer, row.subject)
        if remains is None:  # it was unlinked meanwhile
            await self._outlet.delete(IDENTITIES, key)


async def _issuer(store: IssuerStore, name: str) -> str:
    row = await store.issuer(name)
    if row is None:
        raise IssuerNotFound(f"there is no issuer {name[:63]}")
    return row.issuer


def _shown(row: IdentityRow) -> Identity:
    return Identity(row.issuer, row.subject, row.principal, row.linked_by, row.linked_at)
