"""Which certificates the bus takes: the public keys of the leaves that certs issued and did not revoke.

nats-server compares the key of a client with the list at the handshake, and ends the connections of those that a
reload finds no longer in it. So a leaf is written here before its owner gets it, and a revoked one stops at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.errors import DropUnusable
from interlock_certs.gathering import Gathered
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_common.tls import write_atomically

_log = structlog.get_logger()
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0
FILE = "pins.conf"


class Reloading(Protocol):
    """What has the bus read its files anew; ``bus_admin.py``."""

    async def ready(self) -> None: ...
    async def reload(self) -> int: ...


class Pins:
    """The list of pins beside the certificate of the bus, and the bus that reads it.

    ``issuers`` answers the key ids of the issuing CAs that count. A leaf stays in the list for ``grace`` seconds after
    its end: it opens no connection any more, but a service that missed its renewal while certs was away keeps the one
    it has.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        directory: Path,
        admin: Reloading,
        issuers: Callable[[], Sequence[str]],
        grace: float,
        clock: Clock,
        files: asyncio.Lock | None = None,
    ) -> None:
        self._engine = engine
        self._path = directory / FILE
        self._admin = admin
        self._grace = grace
        self._clock = clock
        self._files = files or asyncio.Lock()
        self._unseen = asyncio.Event()
        self._written: bytes | None = None
        self._issuers = issuers
        self.enforce = Gathered(self._enforce)

    async def write(self) -> None:
        """Write the list, for a bus that starts later."""
        async with transaction(self._engine) as session:
            keys = await store.pinned_keys(session, int(self._clock.time() - self._grace), self._issuers())
        content = _render(keys)
        if content == self._written:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self._path, content, private=False)
        except OSError as error:
            raise DropUnusable(f"BUS_IDENTITY_DIR: {self._path} cannot be written: {error.strerror}") from None
        self._written = content

    async def admit(self) -> None:
        """Have the bus take what was issued; where the bus is away it will read the list when it starts."""
        try:
            await self.enforce()
        except InterlockError as error:
            _log.info("the bus has not read the new pins yet", reason=error.detail)

    async def keep_enforced(self) -> None:
        """Repeat, for ever, what the bus did not do when it was asked."""
        pause = _FIRST_PAUSE
        while True:
            await self._unseen.wait()
            try:
                await self.enforce()
                pause = _FIRST_PAUSE
            except (InterlockError, SQLAlchemyError):
                await self._clock.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)

    async def _enforce(self) -> None:
        began = self._clock.monotonic()
        self._unseen.set()
        await self._admin.ready()  # whose key must be in the list that is about to count
        await self.write()
        async with self._files:  # the bus reads its key and its certificate too, which must be a pair
            servers = await self._admin.reload()
        self._unseen.clear()
        _log.debug("the bus reloaded", servers=servers, ms=round((self._clock.monotonic() - began) * 1000))


def _render(keys: set[str] | None) -> bytes:
    """The list for a ``tls`` block; without pins where leaves exist whose keys were never noted."""
    head = "# Written by certs: the SHA-256 of the public key of each certificate that the bus takes.\n"
    if keys is None:
        return head.encode()
    return (head + "pinned_certs: [\n" + "".join(f'  "{key}"\n' for key in sorted(keys)) + "]\n").encode()
