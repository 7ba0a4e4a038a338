"""The tiles as files (C2SP tlog-tiles), written after the database has them, and again when they are missing."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_audit.store import Store
from interlock_common.database import transaction
from interlock_common.transparency.merkle import HASH_SIZE
from interlock_common.transparency.tiles import WIDTH, Tile, encode_entries, entries_path, tiles_of

CHECKPOINT = "checkpoint"


class TileFiles:
    """The folder that a web server or the offline verifier reads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written = 0

    def checkpoint(self) -> str | None:
        """The checkpoint in the folder, if any."""
        try:
            return (self._directory / CHECKPOINT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    async def repair(self, engine: AsyncEngine, size: int) -> int:
        """Write the tiles of a tree of ``size`` leaves that are missing or cut; answers how many were."""
        missing = await asyncio.to_thread(lambda: [tile for tile in tiles_of(size) if not self._whole(tile)])
        await self._write(engine, missing)
        self._written = size
        return len(missing)

    async def publish(self, engine: AsyncEngine, size: int, note: str) -> None:
        """Bring the folder to ``size`` leaves: first the tiles, last the checkpoint that needs them."""
        await self._write(engine, tiles_of(size, self._written))
        await asyncio.to_thread(_replace, self._directory / CHECKPOINT, note.encode())
        self._written = size

    async def _write(self, engine: AsyncEngine, tiles: Iterable[Tile]) -> None:
        for tile in tiles:
            async with transaction(engine) as session:
                store = Store(session)
                files = {tile.path: b"".join(await store.tile(tile))}
                if tile.level == 0:
                    low = tile.number * WIDTH
                    leaves = await store.leaves(low, low + tile.width)
                    files[entries_path(tile.number, tile.width)] = encode_entries(leaves)
            await asyncio.to_thread(self._write_files, files)

    def _write_files(self, files: dict[str, bytes]) -> None:
        for path, data in files.items():
            _replace(self._directory / path, data)
            if not path.rpartition("/")[0].endswith(".p"):  # a full tile replaces its partial ones
                shutil.rmtree(self._directory / f"{path}.p", ignore_errors=True)

    def _whole(self, tile: Tile) -> bool:
        path = self._directory / tile.path
        beside = self._directory / entries_path(tile.number, tile.width)
        return (
            path.is_file()
            and path.stat().st_size == tile.width * HASH_SIZE
            and (tile.level > 0 or (beside.is_file() and beside.stat().st_size > 0))
        )


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
