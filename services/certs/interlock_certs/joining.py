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
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from interlock_certs import store
from interlock_certs.errors import DropUnusable, JoinRefused
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.tls import write_atomically

_log = structlog.get_logger()
_KEPT_SECONDS = 3600
_RETRY_SECONDS = 2.0


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
        self._used: asyncio.Queue[str] = asyncio.Queue()

    async def project(self, bundle_pem: bytes) -> None:
        """Fill every drop with the bundle and a fresh token."""
        for identity in sorted(self._identities):
            drop = self._directory / identity
            try:
                drop.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_atomically(drop / "bundle.pem", bundle_pem, private=True)
                await self._drop_token(identity)
            except OSError as error:
                raise DropUnusable(f"JOIN_DROP_DIR: {drop} cannot be written: {error.strerror}") from None

    def rewrite_bundles(self, bundle_pem: bytes) -> None:
        """Put another bundle into every drop; raises DropUnusable."""
        for identity in sorted(self._identities):
            drop = self._directory / identity
            try:
                write_atomically(drop / "bundle.pem", bundle_pem, private=True)
            except OSError as error:
                raise DropUnusable(f"JOIN_DROP_DIR: {drop} cannot be written: {error.strerror}") from None

    async def use(self, session: AsyncSession, identity: str | None, token: str) -> str:
        """Use up ``token`` and answer whose it is, with the transaction of ``session``.

        Raises JoinRefused, without saying which of the rules it broke.
        """
        joining = await store.use_join_token(session, _digest(token), int(self._clock.time()))
        if joining is None or joining not in self._identities or identity not in {joining, None}:
            _log.warning("join token refused", identity=(identity or "")[:64])
            raise JoinRefused("the join token does not count: it is unknown, used up, expired or another identity's")
        return joining

    def used(self, identity: str) -> None:
        """The token of ``identity`` is used up for good: its drop gets the next one."""
        self._used.put_nowait(identity)

    async def keep_fresh(self) -> None:
        """Replace tokens that were used, for ever, and each before it expires."""
        await asyncio.gather(self._replace_used(), self._replace_old())

    async def _replace_used(self) -> None:
        while True:
            await self._replace([await self._used.get()])

    async def _replace_old(self) -> None:
        while True:
            await self._clock.sleep(self._lifetime / 2)
            await self._replace(sorted(self._identities))

    async def _replace(self, identities: Sequence[str]) -> None:
        """Drop new tokens; a database or a disk that is away delays them, no more."""
        for identity in identities:
            while True:
                try:
                    await self._drop_token(identity)
                    break
                except (SQLAlchemyError, OSError) as error:
                    _log.warning("join token not replaced yet", identity=identity, error=type(error).__name__)
                    await self._clock.sleep(_RETRY_SECONDS)

    async def _drop_token(self, identity: str) -> None:
        token, now = secrets.token_urlsafe(32), int(self._clock.time())
        async with transaction(self._engine) as session:
            await store.forget_join_tokens(session, now - _KEPT_SECONDS)
            await store.add_join_token(session, _digest(token), identity, now + self._lifetime)
        write_atomically(self._directory / identity / "token", token.encode(), private=True)


def _digest(token: str) -> str:
    """What is kept and compared of a token: with 256 random bits, looking up its hash leaks nothing by time."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()
