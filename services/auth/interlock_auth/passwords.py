"""Passwords as Argon2id (RFC 9106), computed off the event loop, a bounded number at a time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from interlock_auth.errors import LoginsSaturated

MAX_PASSWORD_LENGTH = 1024
_PARALLEL = 2  # each computation takes 64 MiB and a core
_MAX_WAITING = 64


class Passwords:
    """Hashes and verifies; an unknown user costs the same as a wrong password."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._waiting = 0
        self._dummy = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """The PHC string of ``password``, with a salt of its own."""
        async with self._slot():
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether ``password`` has this hash; without a hash the answer is no, after the same work."""
        async with self._slot():
            matches = await asyncio.to_thread(self._matches, password_hash or self._dummy, password)
        return matches and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with weaker parameters than those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        """One of the places for work; raises LoginsSaturated where too many wait for one."""
        if self._waiting >= _MAX_WAITING:
            raise LoginsSaturated("too many logins at once, try again in a moment")
        self._waiting += 1
        try:
            async with self._slots:
                yield
        finally:
            self._waiting -= 1

    def _matches(self, password_hash: str, password: str) -> bool:
        if len(password) > MAX_PASSWORD_LENGTH:
            password = password[:MAX_PASSWORD_LENGTH]
            password_hash = self._dummy  # the work is done, the answer is no
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
