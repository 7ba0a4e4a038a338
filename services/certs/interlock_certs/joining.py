"""Join tokens: how a service that has no certificate yet gets its first one.

For each identity a *drop*, a folder that only that service can read, always holds one token that counts and
the trust bundle. A token counts once and for a few minutes; when it is used or about to expire the next one
takes its place, so a service that lost a race for a token reads the file again and tries once more.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

import structlog
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.tls import write_atomically
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.errors import JoinRefused

_log = structlog.get_logger()
_KEPT_SECONDS = 3600


class JoinDrops:
    """The drops of a deployment, and the tokens in them."""

    def __init__(
        self, engine: AsyncEngine, directory: Path, identities: Sequence[str], lifetime: int, clock: Clock
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._identities = frozenset(identities)
        self._lifetime = lifetime
        self._clock = clock

    async def project(self, bundle_pem: bytes) -> None:
        """Fill every drop with the bundle and a fresh token."""
        for identity in sorted(self._identities):
            drop = self._directory / identity
            drop.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(drop / "bundle.pem", bundle_pem, private=True)
            await self._drop_token(identity)

    async def use(self, identity: str, token: str) -> None:
        """Use up ``token`` for ``identity``; raises JoinRefused, without saying which of the rules it broke."""
        async with transaction(self._engine) as session:
            counted = identity in self._identities and await store.use_join_token(
                session, _digest(token), identity, int(self._clock.time())
            )
        if not counted:
            _log.warning("join token refused", identity=identity[:64])
            raise JoinRefused("the join token does not count: it is unknown, used up, expired or another identity's")
        await self._drop_token(identity)

    async def keep_fresh(self) -> None:
        """Replace each token before it expires, for ever."""
        while True:
            await self._clock.sleep(self._lifetime / 2)
            async with transaction(self._engine) as session:
                await store.forget_join_tokens(session, int(self._clock.time()) - _KEPT_SECONDS)
            await asyncio.gather(*map(self._drop_token, self._identities))

    async def _drop_token(self, identity: str) -> None:
        token = secrets.token_urlsafe(32)
        async with transaction(self._engine) as session:
            expires_at = int(self._clock.time()) + self._lifetime
            await store.add_join_token(session, _digest(token), identity, expires_at)
        write_atomically(self._directory / identity / "token", token.encode(), private=True)


def _digest(token: str) -> str:
    """What is kept and compared of a token: with 256 random bits, looking up its hash leaks nothing by time."""
    return hashlib.sha256(token.encode()).hexdigest()
