"""Checkpoints: the tree is compared with what was signed, then signed as it grows."""

from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit import tree
from interlock_audit.appending import Appender
from interlock_audit.errors import KeyUnusable
from interlock_audit.keys import load_signer
from interlock_audit.models import CheckpointRow
from interlock_audit.store import Lease, Store
from interlock_audit.tile_files import TileFiles
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.transparency.note import Signer, TreeHead

_log = structlog.get_logger()


class Checkpoints:
    """Signs for one holder of the lease."""

    def __init__(self, engine: AsyncEngine, tiles: TileFiles, lease: Lease, lease_seconds: float, clock: Clock) -> None:
        self._engine = engine
        self._tiles = tiles
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._signer: Signer | None = None
        self.signed_size = 0

    async def open(self, key_dir: Path, origin: str, size: int) -> None:
        """Load the key, refuse a tree that is not what was signed, and repair the files of the last checkpoint."""
        async with transaction(self._engine) as session:
            store = Store(session)
            newest = await store.newest_checkpoint()
            filed = self._tiles.checkpoint()
            signer = load_signer(key_dir, origin, may_create=newest is None and filed is None)
            if newest is not None:
                if newest.verifier_key != str(signer.verifier):
                    raise KeyUnusable("the last checkpoint was signed by another key or under another origin")
                await tree.check_signed(store, newest.note, signer.verifier, size)
            if filed is not None:
                await tree.check_signed(store, filed, signer.verifier, size)
        self._signer = signer
        if newest is not None:
            self.signed_size = newest.tree_size
            repaired = await self._tiles.repair(self._engine, newest.tree_size)
            await self._tiles.publish(self._engine, newest.tree_size, newest.note)
            if repaired:
                _log.warning("tiles were missing and were written again", tiles=repaired)

    async def sign(self, appender: Appender) -> CheckpointRow | None:
        """Sign the tree if it grew since the last time; what was signed, or None."""
        frontier = appender.frontier
        if self._signer is None or frontier.size == self.signed_size:
            return None
        head = TreeHead(self._signer.verifier.name, frontier.size, frontier.root())
        row = CheckpointRow(
            tree_size=head.size,
            at=int(self._clock.time() * 1000),
            root=head.root,
            note=self._signer.sign(head.text()),
            verifier_key=str(self._signer.verifier),
        )
        async with transaction(self._engine) as session:
            store = Store(session)
            await store.renew_lease(self._lease, self._clock.time() + self._lease_seconds)
            await store.add_checkpoint(row)
        self.signed_size = head.size
        await self._tiles.publish(self._engine, head.size, row.note)
        return row
