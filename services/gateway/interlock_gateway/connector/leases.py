"""Which connector runs which upstream: a lease in a bucket, renewed while it lives, free when it expires."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import cast

import msgspec
import structlog
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError
from nats.js.errors import Error as JetStreamError

from interlock_common import kv
from interlock_common.bus import Bus
from interlock_common.clock import SYSTEM_CLOCK, Clock
from interlock_common.errors import Unavailable
from interlock_common.messages.gateway import ConnectorLease
from interlock_common.messages.resources import CONNECTORS
from interlock_common.mirror import Mirror

_log = structlog.get_logger()
TTL_SECONDS = 6.0
_RENEWALS = 3
_REQUEST_SECONDS = 2.0
_CONCURRENT = 32
_ENDED = {"KV-Operation", "Nats-Marker-Reason"}
_WRONG_SEQUENCE = {10071, 10164}
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"

type Happened = Callable[[str], Awaitable[None]]


class _Taken(Exception):
    """Somebody else holds the lease."""


@dataclass
class _Held:
    revision: int
    renewed_at: float


class Leases:
    """Holds a lease for as many of ``wanted()`` as it can get; ``gained`` and ``lost`` say which those are.

    A lease that could not be renewed in time counts as lost: another connector may hold it by then.
    """

    def __init__(
        self, bus: Bus, mirror: Mirror[ConnectorLease], wanted: Callable[[], Collection[str]], gained: Happened,
        lost: Happened, *, ttl: float = TTL_SECONDS, clock: Clock = SYSTEM_CLOCK,
    ) -> None:  # fmt: skip
        self.held: dict[str, _Held] = {}
        self._bus = bus
        self._mirror = mirror
        self._wanted = wanted
        self._gained = gained
        self._lost = lost
        self._ttl = ttl
        self._clock = clock
        self._wake = asyncio.Event()
        self._lease = msgspec.json.encode(ConnectorLease(bus.instance))
        self._slots = asyncio.Semaphore(_CONCURRENT)
        mirror.on_change(self._changed)

    def look(self) -> None:
        """What is wanted has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Take, renew and give back until cancelled."""
        while True:
            await self.round()
            try:
                async with asyncio.timeout(self._ttl / _RENEWALS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def round(self) -> None:
        """Bring what is held to what is wanted."""
        wanted = set(self._wanted())
        work = [self._give_back(upstream) for upstream in self.held.keys() - wanted]
        work += [self._renew(upstream) for upstream in self.held.keys() & wanted]
        work += [self._take(upstream) for upstream in wanted - self.held.keys() if self._mirror.get(upstream) is None]
        await asyncio.gather(*work)

    async def close(self) -> None:
        """Give everything back, so that others take over at once."""
        await asyncio.gather(*(self._give_back(upstream) for upstream in list(self.held)))

    def _changed(self, _key: str, lease: ConnectorLease | None) -> None:
        if lease is None:
            self._wake.set()

    async def _take(self, upstream: str) -> None:
        # Whoever has less comes first.
        await self._clock.sleep(random.uniform(0, 0.05) + 0.005 * min(len(self.held), 100))  # noqa: S311 - spreads load
        at = self._clock.monotonic()
        try:
            async with self._slots, asyncio.timeout(_REQUEST_SECONDS):
                revision = await self._publish(upstream, await self._free_since(upstream))
        except _Taken:
            return
        except (NatsError, JetStreamError, Unavailable, TimeoutError) as error:
            _log.warning("a lease could not be taken", upstream=upstream, error=type(error).__name__)
            return
        self.held[upstream] = _Held(revision, at)
        await self._gained(upstream)

    async def _renew(self, upstream: str) -> None:
        held, at = self.held[upstream], self._clock.monotonic()
        if at - held.renewed_at < self._ttl / _RENEWALS / 2:
            return
        try:
            async with self._slots:
                held.revision, held.renewed_at = await self._publish(upstream, held.revision), at
        except _Taken:
            _log.warning("a lease is somebody else's", upstream=upstream)
            await self._forget(upstream)
        except (NatsError, JetStreamError, Unavailable, TimeoutError) as error:
            if self._clock.monotonic() - held.renewed_at >= self._ttl:
                _log.warning("a lease could not be renewed", upstream=upstream, error=type(error).__name__)
                await self._forget(upstream)

    async def _publish(self, upstream: str, revision: int) -> int:
        """Write the lease over ``revision``; raises _Taken when that is not the last."""
        headers = {_EXPECTED: str(revision), "Nats-TTL": f"{max(1, round(self._ttl))}s"}
        subject = f"$KV.{CONNECTORS.name}.{upstream}"
        try:
            ack = await self._bus.js.publish(subject, self._lease, timeout=_REQUEST_SECONDS, headers=headers)
        except APIError as error:
            if error.err_code in _WRONG_SEQUENCE:
                raise _Taken from None
            raise
        return ack.seq

    async def _free_since(self, upstream: str) -> int:
        """The revision that says that nobody holds the lease: 0 for none, or the note of its end; raises _Taken."""
        bucket = CONNECTORS.name
        try:
            last = await self._bus.js.get_last_msg(f"KV_{bucket}", f"$KV.{bucket}.{upstream}", direct=True)
        except NotFoundError:
            return 0
        if not _ENDED & cast("dict[str, str]", last.headers or {}).keys():  # pyright: ignore[reportUnknownMemberType]
            raise _Taken
        return last.seq or 0

    async def _give_back(self, upstream: str) -> None:
        await self._forget(upstream)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                await kv.delete(self._bus, CONNECTORS, upstream)
        except (NatsError, JetStreamError, Unavailable, TimeoutError) as error:
            _log.warning("a lease could not be given back and expires", upstream=upstream, error=type(error).__name__)

    async def _forget(self, upstream: str) -> None:
        if self.held.pop(upstream, None) is not None:
            await self._lost(upstream)
