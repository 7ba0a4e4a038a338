"""More than one token stops counting at once: all of a user, a team, a certificate or a session, or all there are."""

from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.errors import NotContained, SelectorRefused
from interlock_auth.models import NEVER, SelectorRow
from interlock_auth.outlet import Outlet
from interlock_auth.receipts import Receipts
from interlock_auth.revocation import GRACE, MAX_REASON_LENGTH, Revocations
from interlock_auth.selector_store import SelectorStore
from interlock_auth.standing import standing
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import RevokeToken
from interlock_common.messages.resources import REVOCATIONS
from interlock_common.messages.revocation import (
    FOR_EVER,
    Receipt,
    Revoke,
    Selector,
    SelectorRevocation,
    selector_key,
)
from interlock_common.messages.subjects import EVT_SELECTOR_REVOKED
from interlock_common.revocation_set import RevocationSet

_MAX_SUBJECT_LENGTH = 320
_PERMISSION = "tokens.delete"
_log = structlog.get_logger(__name__)


class Selectors:
    """Revokes by selectors, and publishes again what the bus has not taken or has lost.

    ``max_lifetime`` is how long a token may live: as long a selector is kept. None is for ever.
    """

    def __init__(
        self, engine: AsyncEngine, outlet: Outlet, tokens: Revocations, receipts: Receipts, clock: Clock,
        *, max_lifetime: int | None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._outlet = outlet
        self._tokens = tokens
        self._receipts = receipts
        self._clock = clock
        self._max_lifetime = max_lifetime

    async def revoke(self, request: Revoke) -> Receipt:
        """Revoke what the selector names: one's own tokens, or anything as an administrator.

        Raises Unavailable when the bus did not take it: it is durable then, and published as soon as it does.
        """
        selector = request.selector
        if selector.kind == "token":
            return await self._tokens.revoke(RevokeToken(request.actor, selector.id, request.reason))
        began = self._clock.monotonic()
        row = await self._remember(request)
        revision = await self._tell(row)
        receipt = Receipt(row.subject, revision, kind=selector.kind, before=row.before)
        return await self._receipts.of(receipt, began)

    async def end_user(self, name: str, before: int, *, by: str, reason: str) -> None:
        """Revoke what a user was issued before ``before``, for a story that has decided that ``by`` may."""
        async with transaction(self._engine) as session:
            row = await self._store(SelectorStore(session), Selector("user", name), before, by, reason)
        await self._tell(row)

    async def _tell(self, row: SelectorRow) -> int:
        revision = await self._publish(row)
        await self._outlet.event(EVT_SELECTOR_REVOKED, _published(row))
        self._outlet.record_soon(
            f"{row.kind}.revoked", row.revoked_by, row.subject or row.kind, reason=row.reason, before=row.before
        )
        return revision

    async def publish(self, *, unpublished_only: bool, held: RevocationSet | None = None) -> int:
        """Put selectors into the bucket that can still concern a token, but for those ``held`` there; how many."""
        async with transaction(self._engine) as session:
            rows = await SelectorStore(session).live(int(self._clock.time()), unpublished_only=unpublished_only)
        missing = [row for row in rows if held is None or row.revision is None or not _is_held(row, held)]
        for row in missing:
            await self._publish(row)
        if missing and unpublished_only:
            _log.warning("selectors published late", count=len(missing))
        return len(missing)

    async def forget(self, expired_before: int) -> None:
        async with transaction(self._engine) as session:
            await SelectorStore(session).prune(expired_before)

    async def _remember(self, request: Revoke) -> SelectorRow:
        selector, now = request.selector, int(self._clock.time())
        if bool(selector.id) != (selector.kind != "all") or len(selector.id) > _MAX_SUBJECT_LENGTH:
            raise SelectorRefused("selector all names nobody, every other whom it is for", kind=selector.kind)
        # A token says its moment in whole seconds: what was issued in this second may have been before.
        before = now + 1 if request.before is None else request.before
        if not 0 < before <= now + 1:
            raise SelectorRefused("before must be a moment up to now, in seconds since the epoch")
        async with transaction(self._engine) as session:
            principal, held = await standing(Store(session), request.actor)
            own = selector.kind == "user" and selector.id == principal.name
            if not own and not (principal.is_admin and held.may(_PERMISSION)):
                raise NotContained(f"only an administrator who may {_PERMISSION} revokes what is not theirs alone")
            return await self._store(SelectorStore(session), selector, before, principal.name, request.reason)

    async def _store(self, store: SelectorStore, selector: Selector, before: int, by: str, reason: str) -> SelectorRow:
        """The row of a selector, which reaches at least as far as what is asked for."""
        row = SelectorRow(
            kind=selector.kind, subject=selector.id, before=before, revoked_at=int(self._clock.time()), revoked_by=by,
            reason=reason[:MAX_REASON_LENGTH], expires_at=await self._expiry(store, before), revision=None,
        )  # fmt: skip
        await store.tighten(row)
        return await store.get(row.kind, row.subject) or row

    async def _expiry(self, store: SelectorStore, before: int) -> int:
        """When the last token it can concern has ended, by the limit of now and by what was minted."""
        latest = await store.latest_expiry(before)
        if self._max_lifetime is None or latest == NEVER:
            return NEVER
        return max(before + self._max_lifetime, latest) + GRACE

    async def _publish(self, row: SelectorRow) -> int:
        ttl = None if row.expires_at == NEVER else max(1.0, row.expires_at - self._clock.time())
        published = _published(row)
        revision = await self._outlet.put(REVOCATIONS, selector_key(published.kind, row.subject), published, ttl)
        async with transaction(self._engine) as session:
            await SelectorStore(session).set_revision(row, revision)
        return revision


def _is_held(row: SelectorRow, held: RevocationSet) -> bool:
    published = _published(row)
    return held.holds(selector_key(published.kind, published.id), published.before)


def _published(row: SelectorRow) -> SelectorRevocation:
    kind: Any = row.kind
    return SelectorRevocation(kind, row.subject, min(row.before, FOR_EVER), row.revoked_at, row.reason)
