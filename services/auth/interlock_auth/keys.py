"""The keys that sign tokens: made at the first start, published before they sign, rotated with overlap."""

import asyncio
import json
from dataclasses import dataclass

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_auth.errors import KeyNotOurs
from interlock_auth.models import SigningKeyRow
from interlock_auth.outlet import Outlet
from interlock_auth.signing import Algorithm, KeyFolder, SigningPair, generate, secret_jwk
from interlock_auth.standing import standing
from interlock_auth.store import Store
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import PermissionDenied, Unavailable
from interlock_common.messages.auth import KeyRotated, RotateKey, SigningKey
from interlock_common.messages.resources import SIGNING_KEYS
from interlock_common.messages.subjects import EVT_KEY_ROTATED

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class KeyRules:
    """Which algorithm signs, how long a key is known before it does, and how long it does (both seconds)."""

    algorithm: Algorithm
    overlap: int
    lifetime: int


class Keyring:
    """The signing keys of the deployment; replicas share the database and the folder.

    ``brought`` is a key from outside (``JWT_PRIVATE_KEY_PATH``, ``JWT_SECRET_KEY``): then it alone signs.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        folder: KeyFolder,
        outlet: Outlet,
        rules: KeyRules,
        clock: Clock,
        brought: SigningPair | None = None,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._outlet = outlet
        self._rules = rules
        self._clock = clock
        self._brought = brought
        self._loaded: dict[str, SigningPair] = {}

    async def prepare(self) -> None:
        """Make sure that there is a key to sign with, creating the first one."""
        async with transaction(self._engine) as session:
            rows = await Store(session).signing_keys()
        if self._brought is not None:
            if all(row.kid != self._brought.kid for row in rows):
                await self._add(self._brought, self._now())
        elif not any(row.algorithm == self._rules.algorithm and self._folder.holds(row.kid) for row in rows):
            await self._create(self._now())

    async def publish(self) -> None:
        """Put every public key that may have signed a living token into the bucket, as after its loss."""
        async with transaction(self._engine) as session:
            rows = await Store(session).signing_keys()
        for row in rows:
            if row.algorithm != "HS256" or (self._brought is not None and row.kid == self._brought.kid):
                await self._put(row)

    async def signer(self, store: Store, expires_at: int) -> SigningPair:
        """The key that signs now; it stays published at least until ``expires_at``."""
        for row in await store.signing_keys():
            if not self._signs(row):
                continue
            pair = await self._pair(row)
            if await store.extend_signed_until(row.kid, expires_at):
                return pair
        raise Unavailable(f"no {self._rules.algorithm} signing key is held here at the moment")

    async def rotate(self, request: RotateKey) -> KeyRotated:
        """A new key, published now, that signs once every edge has surely seen it."""
        async with transaction(self._engine) as session:
            principal, held = await standing(Store(session), request.actor)
        if not principal.is_admin or not held.may("admin.system_config"):
            raise PermissionDenied("rotating the signing key needs an administrator")
        rotated = await self._rotate()
        await self._outlet.record("key.rotated", request.actor.principal, rotated.kid, not_before=rotated.not_before)
        return rotated

    async def rotate_when_due(self) -> bool:
        """Rotate when the youngest key has reached its lifetime; whether it had."""
        if self._brought is not None:
            return False
        async with transaction(self._engine) as session:
            rows = await Store(session).signing_keys()
        youngest = max((row.not_before for row in rows if row.algorithm == self._rules.algorithm), default=0)
        if self._now() - youngest < self._rules.lifetime:
            return False
        rotated = await self._rotate()
        await self._outlet.record("key.rotated", "auth", rotated.kid, not_before=rotated.not_before)
        return True

    async def prune(self) -> tuple[str, ...]:
        """Withdraw the keys that no longer sign and whose last token has expired."""
        now = self._now()
        async with transaction(self._engine) as session:
            rows = await Store(session).signing_keys()
        current = next((row for row in rows if self._signs(row)), None)
        if current is None or now - current.not_before < self._rules.overlap:
            return ()
        superseded = [row for row in rows if row.not_before <= current.not_before and row.kid != current.kid]
        return tuple([row.kid for row in superseded if await self._withdraw(row, now)])

    async def _withdraw(self, row: SigningKeyRow, now: int) -> bool:
        if row.signed_until >= now:
            return False
        async with transaction(self._engine) as session:
            if not await Store(session).remove_signing_key(row.kid, now):
                return False
            await self._outlet.delete(SIGNING_KEYS, row.kid)
        self._folder.discard(row.kid)
        self._loaded.pop(row.kid, None)
        _log.info("signing key withdrawn", kid=row.kid)
        return True

    async def _rotate(self) -> KeyRotated:
        if self._brought is not None:
            raise KeyNotOurs("the signing key comes from outside: replace it there and restart auth")
        async with transaction(self._engine) as session:
            rows = await Store(session).signing_keys()
        youngest = max((row.not_before for row in rows), default=0)
        # Strictly later than every other key, so that all replicas agree on which one is the youngest.
        pair, not_before = await self._create(max(self._now() + self._rules.overlap, youngest + 1))
        rotated = KeyRotated(pair.kid, not_before)
        await self._outlet.event(EVT_KEY_ROTATED, rotated)
        return rotated

    async def _create(self, not_before: int) -> tuple[SigningPair, int]:
        pair = await asyncio.to_thread(generate, self._rules.algorithm)
        await asyncio.to_thread(self._folder.save, pair)
        await self._add(pair, not_before)
        return pair, not_before

    async def _add(self, pair: SigningPair, not_before: int) -> None:
        """Publish within the transaction: a key that nobody can verify with is never committed to sign."""
        row = SigningKeyRow(kid=pair.kid, algorithm=pair.algorithm, jwk=json.dumps(pair.jwk), not_before=not_before,
                            signed_until=0)  # fmt: skip
        async with transaction(self._engine) as session:
            await Store(session).add_signing_key(row)
            await self._put(row)
        _log.info("signing key added", kid=pair.kid, algorithm=pair.algorithm, not_before=not_before)

    async def _put(self, row: SigningKeyRow) -> None:
        jwk = row.jwk
        if row.algorithm == "HS256" and self._brought is not None:
            jwk = json.dumps(secret_jwk(self._brought))  # only ever the current one: the database has no secret
        key = SigningKey(row.kid, row.algorithm, msgspec.Raw(jwk.encode()), row.not_before)
        await self._outlet.put(SIGNING_KEYS, row.kid, key)

    def _signs(self, row: SigningKeyRow) -> bool:
        if self._brought is not None:
            return row.kid == self._brought.kid
        active = row.algorithm == self._rules.algorithm and row.not_before <= self._now()
        return active and (row.kid in self._loaded or self._folder.holds(row.kid))

    async def _pair(self, row: SigningKeyRow) -> SigningPair:
        if self._brought is not None:
            return self._brought
        if row.kid not in self._loaded:
            self._loaded[row.kid] = await asyncio.to_thread(self._folder.load, row.kid, self._rules.algorithm)
        return self._loaded[row.kid]

    def _now(self) -> int:
        return int(self._clock.time())
