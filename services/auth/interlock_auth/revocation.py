"""What is revoked stops counting: durable, then in every mirror."""

import asyncio
from collections.abc import Sequence
from itertools import batched

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.errors import TokenNotFound
from interlock_auth.models import NEVER, RevocationRow
from interlock_auth.outlet import Outlet
from interlock_auth.receipts import Receipts
from interlock_auth.standing import standing_and_token
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import Revocation, RevokeToken, revocation_key
from interlock_common.messages.resources import REVOCATIONS
from interlock_common.messages.revocation import FOR_EVER, Receipt
from interlock_common.messages.subjects import EVT_TOKEN_REVOKED
from interlock_common.revocation_set import RevocationSet

GRACE = 300
"""Seconds a revocation outlives its token: verifiers may allow for clocks that differ."""
MAX_REASON_LENGTH = 1000
_PAGE = 5000
_AT_ONCE = 200
"""Revocations that are on their way to the bucket at the same time, when all that are missing there are published."""
_log = structlog.get_logger(__name__)


class Revocations:
    """Revokes tokens, and publishes again what the bus has not taken or has lost."""

    def __init__(self, engine: AsyncEngine, outlet: Outlet, clock: Clock, receipts: Receipts) -> None:
        self._engine = engine
        self._outlet = outlet
        self._clock = clock
        self._receipts = receipts

    async def revoke(self, request: RevokeToken) -> Receipt:
        """Revoke one's own token, or any as an administrator; repeating it publishes it again.

        Raises Unavailable when the bus did not take it: it is durable then, and published as soon as it does.
        """
        began = self._clock.monotonic()
        row, is_new, revision = await self._stored(request)
        if is_new:  # a revocation never waits for the audit stream: it must take effect without it
            await self._outlet.event(EVT_TOKEN_REVOKED, _selector(row))
            self._outlet.record_soon("token.revoked", row.revoked_by, row.token_id, reason=row.reason)
        receipt, _ = await asyncio.gather(
            self._receipts.of(Receipt(row.token_id, revision), began), self._note_published(row, revision)
        )
        return receipt

    async def publish(self, *, unpublished_only: bool, held: RevocationSet | None = None) -> int:
        """Put revocations into the bucket whose tokens still live, but for those ``held`` there; answers how many.

        There may be a million, so they are read a page at a time.
        """
        count, after, now = 0, "", int(self._clock.time())
        while True:
            async with transaction(self._engine) as session:
                found = await Store(session).live_revocations(
                    now, unpublished_only=unpublished_only, after=after, limit=_PAGE
                )
            missing = [token_id for token_id, revision in found if revision is None or not _is_held(token_id, held)]
            for ids in batched(missing, _AT_ONCE, strict=False):
                await self._publish(ids)
            count += len(missing)
            if len(found) < _PAGE:
                break
            after = found[-1][0]
        if count and unpublished_only:
            _log.warning("revocations published late", count=count)
        return count

    async def _stored(self, request: RevokeToken) -> tuple[RevocationRow, bool, int]:
        """The revocation in the database and, at ``revision``, in the bucket; whether it is new.

        Each is durable by itself, so the bucket does not wait until the database has synced its disk. Where one of them
        fails, whoever revokes is told so: what only the bucket has is refused all the same, and what only the database
        has is published later.
        """
        putting: asyncio.Task[int] | None = None
        try:
            async with transaction(self._engine) as session:
                row, is_new = await self._remember(Store(session), request)
                putting = asyncio.create_task(self._put(row))
            return row, is_new, await putting
        finally:
            if putting is not None and not putting.done():
                putting.cancel()
            await asyncio.gather(*([putting] if putting else []), return_exceptions=True)

    async def _remember(self, store: Store, request: RevokeToken) -> tuple[RevocationRow, bool]:
        principal, held, token = await standing_and_token(store, request.actor, request.id)
        foreign = token is not None and token.principal != principal.name
        if token is None or (foreign and not (principal.is_admin and held.may("tokens.delete"))):
            raise TokenNotFound(f"there is no token {request.id} that the actor may revoke")
        expires_at = token.expires_at if token.expires_at == NEVER else token.expires_at + GRACE
        row = RevocationRow(
            token_id=token.id, revoked_at=int(self._clock.time()), revoked_by=principal.name,
            reason=request.reason[:MAX_REASON_LENGTH], expires_at=expires_at, revision=None,
        )  # fmt: skip
        is_new = await store.add_revocation(row)
        known = row if is_new else await store.revocation(token.id)
        return known or row, is_new

    async def _put(self, row: RevocationRow) -> int:
        ttl = None if row.expires_at == NEVER else max(1.0, row.expires_at - self._clock.time())
        return await self._outlet.put(REVOCATIONS, revocation_key(row.token_id), _selector(row), ttl)

    async def _publish(self, ids: Sequence[str]) -> None:
        async with transaction(self._engine) as session:
            rows = await Store(session).revocations(ids)
        put = await asyncio.gather(*(self._put(row) for row in rows), return_exceptions=True)
        published = [(row, revision) for row, revision in zip(rows, put, strict=True) if isinstance(revision, int)]
        if published:
            async with transaction(self._engine) as session:
                await Store(session).set_revisions(published)
        for failed in put:
            if isinstance(failed, BaseException):
                raise failed

    async def _note_published(self, row: RevocationRow, revision: int) -> None:
        """What is revoked is revoked, even if it cannot be noted: housekeeping publishes it once more then."""
        try:
            async with transaction(self._engine) as session:
                await Store(session).set_revisions([(row, revision)])
        except (SQLAlchemyError, OSError) as error:
            _log.warning("that a revocation is published could not be noted", error=type(error).__name__)


def _is_held(token_id: str, held: RevocationSet | None) -> bool:
    return held is not None and held.holds(revocation_key(token_id), FOR_EVER)


def _selector(row: RevocationRow) -> Revocation:
    return Revocation(row.token_id, row.revoked_at, row.reason)
