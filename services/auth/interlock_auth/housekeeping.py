"""What auth does by itself: bring the buckets to the database's truth, and forget what has ended."""

from collections.abc import Sequence
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.changing_tokens import ChangingTokens
from interlock_auth.identity_store import TeamStore
from interlock_auth.keys import Keyring
from interlock_auth.principals import Principals
from interlock_auth.revocation import Revocations
from interlock_auth.selectors import Selectors
from interlock_auth.store import Store
from interlock_auth.token_uses import TokenUses
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_common.revocation_set import RevocationSet

TOKEN_MEMORY = 30 * 86400
"""Seconds that an expired token stays listed, with its revocation."""
_log = structlog.get_logger(__name__)


class Keeper(Protocol):
    """A part of auth that keeps house for itself."""

    async def reconcile(self) -> None: ...

    async def tidy(self) -> None: ...


class Housekeeping:
    """Runs beside the requests, in every replica; each step may be repeated."""

    def __init__(
        self,
        engine: AsyncEngine,
        keyring: Keyring,
        principals: Principals,
        revocations: Revocations,
        selectors: Selectors,
        changing: ChangingTokens,
        uses: TokenUses,
        clock: Clock,
        interval: float,
        others: Sequence[Keeper] = (),
    ) -> None:
        self._engine = engine
        self._keyring = keyring
        self._principals = principals
        self._revocations = revocations
        self._selectors = selectors
        self._changing = changing
        self._uses = uses
        self._clock = clock
        self._interval = interval
        self._others = others

    async def reconcile(self, held: RevocationSet | None = None) -> None:
        """Publish again from the database what is not ``held`` by the bus, so that a start rebuilds a lost bucket."""
        await self._keyring.publish()
        await self._principals.publish()
        await self._revocations.publish(unpublished_only=False, held=held)
        await self._selectors.publish(unpublished_only=False, held=held)
        await self._changing.publish(unpublished_only=False)
        for other in self._others:
            await other.reconcile()

    async def tidy(self) -> None:
        """Publish what the bus missed, rotate a key that is due, withdraw keys and rows that have ended."""
        await self._revocations.publish(unpublished_only=True)
        await self._selectors.publish(unpublished_only=True)
        await self._changing.publish(unpublished_only=True)
        await self._uses.prune()
        await self._principals.directory.publish_missed()
        await self._keyring.rotate_when_due()
        await self._keyring.prune()
        await self._principals.forget_old_failures()
        now = int(self._clock.time())
        await self._selectors.forget(now)
        async with transaction(self._engine) as session:
            store = Store(session)
            await store.prune_revocations(now - TOKEN_MEMORY)
            await store.prune_tokens(now - TOKEN_MEMORY)
            await TeamStore(session).prune_invitations(now)
        for other in self._others:
            await other.tidy()

    async def run(self) -> None:
        """Tidy for ever; what fails is tried again after the interval."""
        while True:
            await self._clock.sleep(self._interval)
            try:
                await self.tidy()
            except InterlockError as error:
                _log.warning("housekeeping will be tried again", code=error.code, reason=error.detail)
            except (SQLAlchemyError, OSError) as error:  # the database may be away for a while
                _log.warning("housekeeping will be tried again", error=type(error).__name__)
