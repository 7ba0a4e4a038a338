"""Changing tokens that exist: their names, and scopes that become narrower, at every edge at once."""

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.asking import asker
from interlock_auth.containment import require_narrower
from interlock_auth.models import NEVER, TokenRow
from interlock_auth.outlet import Outlet
from interlock_auth.owned_tokens import owned
from interlock_auth.token_store import TokenStore
from interlock_auth.tokens import check_texts, summary
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.messages.auth import NarrowedScopes, Scopes, TokenSummary, UpdateToken
from interlock_common.messages.common import ById
from interlock_common.messages.resources import TOKEN_SCOPES
from interlock_common.restrictions import restrictions_of


class ChangingTokens:
    """Shows and changes tokens, and publishes again what the bus has not taken or has lost."""

    def __init__(self, engine: AsyncEngine, outlet: Outlet, clock: Clock) -> None:
        self._engine = engine
        self._outlet = outlet
        self._clock = clock

    async def get(self, request: ById) -> TokenSummary:
        """One's own token, or any for an administrator."""
        async with transaction(self._engine) as session:
            store = TokenStore(session)
            row = await owned(store, await asker(store, request.actor), request.id, "tokens.read")
            revoked = await store.revocation(row.id) is not None
        return summary(row, revoked=revoked)

    async def update(self, request: UpdateToken) -> TokenSummary:
        """Change a token of one's own, or any as an administrator; raises NotContained for scopes that widen it.

        Raises Unavailable when the bus did not take the scopes: they are kept then, and published as soon as it does.
        """
        check_texts(request.name, request.description)
        async with transaction(self._engine) as session:
            store = TokenStore(session)
            row = await owned(store, await asker(store, request.actor), request.id, "tokens.update")
            changes: dict[str, object] = {}
            if request.name is not None:
                changes["name"] = request.name
            if request.description is not None:
                changes["description"] = request.description
            if request.scopes is not None:
                restrictions_of(request.scopes)
                require_narrower(request.scopes, msgspec.json.decode(row.scopes, type=Scopes))
                changes |= {
                    "scopes": msgspec.json.encode(request.scopes).decode(), "narrowed": True, "narrowed_revision": None,
                }  # fmt: skip
            if changes:
                await store.change_token(row.id, **changes)
        if request.scopes is not None:
            await self._publish(row.id, request.scopes, row.expires_at)
        told = {name: value for name, value in changes.items() if name in {"name", "scopes"}}
        await self._outlet.record("token.updated", request.actor.principal, row.id, **told)
        return await self.get(ById(request.actor, request.id))

    async def publish(self, *, unpublished_only: bool) -> None:
        """Put narrowed scopes of living tokens into the bucket, as after its loss."""
        async with transaction(self._engine) as session:
            now = int(self._clock.time())
            rows = await TokenStore(session).narrowed_tokens(now, unpublished_only=unpublished_only)
        for row in rows:
            await self._publish(row.id, _scopes(row), row.expires_at)

    async def _publish(self, token_id: str, scopes: Scopes, expires_at: int) -> None:
        ttl = None if expires_at == NEVER else max(1.0, expires_at + 60 - self._clock.time())
        revision = await self._outlet.put(TOKEN_SCOPES, token_id, NarrowedScopes(token_id, scopes), ttl)
        async with transaction(self._engine) as session:
            await TokenStore(session).change_token(token_id, narrowed_revision=revision)


def _scopes(row: TokenRow) -> Scopes:
    return msgspec.json.decode(row.scopes, type=Scopes)
