"""The ear at every upstream that announces changes of its lists: what it says is looked at at once.

What connectors, tunnels and edges hear they publish on ``mcp.changed``; here are the upstreams at which nobody would
listen otherwise. Replicas listen independently of each other: a second look finds nothing new.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_common.messages.catalog import Kind, Upstream
from interlock_gateway.catalog.noticing import Noticing
from interlock_gateway.catalog.store import Store
from interlock_gateway.upstreams.discovery.discovery import EVERYTHING
from interlock_gateway.upstreams.transport import Transport

_log = structlog.get_logger()
_UNSUPPORTED = "upstream_listen_unsupported"
_SESSION_KEY = "catalog.listening"
_LOOK_SECONDS = 5.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 300.0
_STEADY_SECONDS = 60.0


@dataclass
class _Ear:
    """One upstream that is listened to, and the way that was listened on."""

    way: tuple[object, ...]
    task: asyncio.Task[None]


class Listening:
    """Keeps an ear at each reachable upstream that announces changes, at most ``limit`` of them."""

    def __init__(
        self,
        engine: AsyncEngine,
        transports: Mapping[Kind, Transport],
        noticing: Noticing,
        clock: Clock,
        *,
        limit: int,
    ) -> None:
        self._engine = engine
        self._transports = transports
        self._noticing = noticing
        self._clock = clock
        self._limit = limit
        self._ears: dict[str, _Ear] = {}
        self._wake = asyncio.Event()

    def reconsider(self) -> None:
        """Look soon at who is to be listened to: something was published."""
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self.round()
                except (SQLAlchemyError, OSError) as error:
                    _log.warning("the catalog's database is away", error=type(error).__name__)
                await self._woken()
        finally:
            await self._end(list(self._ears))

    async def round(self) -> int:
        """Begin and end listening as the database says; answers how many upstreams are listened to."""
        async with transaction(self._engine) as session:
            announcing = await Store(session).announcing(self._limit)
        wanted = {upstream.id: upstream for upstream in announcing if self._can_listen(upstream)}
        stale = [
            upstream_id
            for upstream_id, ear in self._ears.items()
            if upstream_id not in wanted or ear.way != _way(wanted[upstream_id])
        ]
        await self._end(stale)
        for upstream in wanted.values():
            if upstream.id not in self._ears:
                task = asyncio.create_task(self._listen(upstream), name=f"listen to {upstream.id}")
                self._ears[upstream.id] = _Ear(_way(upstream), task)
        return len(self._ears)

    def _can_listen(self, upstream: Upstream) -> bool:
        """A command of its own for each principal is not started only to be listened to."""
        if upstream.transport in {"http", "sse"}:
            return upstream.transport in self._transports
        shared = upstream.command is None or upstream.command.shared
        return upstream.era == "modern" and shared and upstream.transport in self._transports

    async def _listen(self, upstream: Upstream) -> None:
        failures = 0
        heard_before = False
        while True:
            began = self._clock.monotonic()
            try:
                async with self._transports[upstream.transport].listen(
                    upstream, upstream.owner, _SESSION_KEY, ()
                ) as notifications:
                    if heard_before:  # what was said in between was not heard
                        self._noticing.look(upstream.id, EVERYTHING)
                    heard_before = True
                    async for message in notifications:
                        self._noticing.notice(upstream.id, message)
            except InterlockError as error:
                if error.code == _UNSUPPORTED:
                    return  # the regular look has to do, until it is registered or found otherwise
                _log.debug("listening ended", upstream=upstream.id, reason=error.detail)
            failures = 0 if self._clock.monotonic() - began >= _STEADY_SECONDS else failures + 1
            await self._clock.sleep(min(_FIRST_PAUSE * 2.0 ** min(failures, 30), _LONGEST_PAUSE))

    async def _end(self, upstream_ids: list[str]) -> None:
        ended = [self._ears.pop(upstream_id).task for upstream_id in upstream_ids]
        for task in ended:
            task.cancel()
        for task, result in zip(ended, await asyncio.gather(*ended, return_exceptions=True), strict=True):
            if isinstance(result, Exception):
                _log.error("listening failed unexpectedly", task=task.get_name(), error=type(result).__name__)

    async def _woken(self) -> None:
        """Wait until something was published, but not long: other replicas publish too."""
        waking = asyncio.ensure_future(self._wake.wait())
        ticking = asyncio.ensure_future(self._clock.sleep(_LOOK_SECONDS))
        try:
            await asyncio.wait((waking, ticking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            ticking.cancel()
            await asyncio.gather(waking, ticking, return_exceptions=True)


def _way(upstream: Upstream) -> tuple[object, ...]:
    """All that decides where and how an upstream is listened to."""
    return (
        upstream.url, upstream.transport, upstream.era, upstream.protocol_version, upstream.credential, upstream.tls,
        upstream.command,
    )  # fmt: skip
