"""Files that are read again when they change; what cannot be used leaves what was there before."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import ConfigurationError

_log = structlog.get_logger()
LOOKED_AT_EVERY = 1.0

type Stamp = tuple[int, int, int, int] | None


def read_bounded(path: Path, setting: str, limit: int) -> bytes:
    """The content of a file; raises ConfigurationError that names the setting."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise ConfigurationError(f"{setting} {path} cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise ConfigurationError(f"{setting} {path} is over {limit} bytes")
    return content


class Followed:
    """Some files, and what is done with them: ``load`` raises ConfigurationError where they cannot be used.

    ``load`` may take its time, and works in a thread; ``take`` puts what it made into place. Raises at once for files
    that are unusable at the start.
    """

    def __init__[T](
        self, files: Iterable[Path], load: Callable[[], T], take: Callable[[T], None], clock: Clock
    ) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._files = tuple(files)
        self._clock = clock
        self._seen = self._stamps()
        take(load())

        async def again() -> None:
            take(await asyncio.to_thread(load))

        self._again = again

    async def follow(self) -> None:
        """Look at the files for ever."""
        while True:
            await self._clock.sleep(LOOKED_AT_EVERY)
            await self.look()

    async def look(self) -> bool:
        """Read what changed; True where it was taken."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        try:
            await self._again()
        except ConfigurationError as error:
            _log.error("what a file holds now cannot be used: what it held before still counts", reason=error.detail)
            return False
        self.changed()
        _log.info("files read again", files=[str(path) for path in self._files])
        return True

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(map(_stamp, self._files))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
