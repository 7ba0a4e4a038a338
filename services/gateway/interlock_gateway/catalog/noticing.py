"""What upstreams announce on the bus: a list that changed is asked for at once, and not more often than it helps."""

import asyncio

import msgspec
import structlog
from sqlalchemy.exc import SQLAlchemyError

from interlock_common.clock import Clock
from interlock_common.errors import InterlockError
from interlock_common.messages.catalog import DefinitionKind
from interlock_gateway.catalog.looking import Looking

_log = structlog.get_logger()
_MAX_WAITING = 2_000
_SPACING_SECONDS = 1.0

_LISTS: dict[str, frozenset[DefinitionKind]] = {
    "notifications/tools/list_changed": frozenset({"tool"}),
    "notifications/resources/list_changed": frozenset({"resource", "template"}),
    "notifications/prompts/list_changed": frozenset({"prompt"}),
}


class _Notification(msgspec.Struct, frozen=True):
    method: str = ""


def changed_lists(message: bytes) -> frozenset[DefinitionKind]:
    """The kinds of definitions whose list a notification says has changed."""
    try:
        return _LISTS.get(msgspec.json.decode(message, type=_Notification).method, frozenset())
    except (msgspec.DecodeError, RecursionError):
        return frozenset()


class Noticing:
    """Looks at an upstream as soon as it announces a change, ``concurrency`` upstreams at a time.

    Announcements that come while it is looked at, or within a second after, are one look together.
    """

    def __init__(self, looking: Looking, clock: Clock, *, concurrency: int) -> None:
        self._looking = looking
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting: dict[str, frozenset[DefinitionKind]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def notice(self, upstream_id: str, message: bytes) -> None:
        """Take a notification of an upstream; anything but that a list changed is passed over."""
        if kinds := changed_lists(message):
            self.look(upstream_id, kinds)

    def look(self, upstream_id: str, kinds: frozenset[DefinitionKind]) -> None:
        """Have the lists of ``kinds`` looked at."""
        if upstream_id not in self._tasks and len(self._tasks) >= _MAX_WAITING:
            _log.warning("an announced change waits for the next regular look", upstream=upstream_id)
            return
        self._waiting[upstream_id] = self._waiting.get(upstream_id, frozenset()) | kinds
        if upstream_id not in self._tasks:
            task = asyncio.create_task(self._follow(upstream_id), name=f"look at {upstream_id}")
            self._tasks[upstream_id] = task

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, upstream_id: str) -> None:
        try:
            while kinds := self._waiting.pop(upstream_id, None):
                async with self._slots:
                    await self._look(upstream_id, kinds)
                await self._clock.sleep(_SPACING_SECONDS)
        finally:
            del self._tasks[upstream_id]

    async def _look(self, upstream_id: str, kinds: frozenset[DefinitionKind]) -> None:
        try:
            await self._looking.look(upstream_id, kinds)
        except InterlockError as error:
            _log.warning("an announced change was not recorded", upstream=upstream_id, reason=error.detail)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("the catalog's database is away", error=type(error).__name__)
