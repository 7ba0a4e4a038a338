"""How long certificates still count: a gauge, and a warning and then an error where one was not replaced in time.

A leaf is replaced when two thirds of its life are over. One that has less than a quarter of it left is late (at the
latest with 30 days left), with less than an eighth (at the latest 7 days) it is an error.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple, Protocol

import structlog
from opentelemetry.metrics import CallbackOptions, Observation
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs import store
from interlock_certs.bus_admin import Connection
from interlock_certs.generations import Generations
from interlock_common import telemetry
from interlock_common.clock import Clock
from interlock_common.database import transaction
from interlock_common.errors import InterlockError
from interlock_common.messages.access import BUS_ADMIN, OPERATOR, WORKER

_log = structlog.get_logger()
_WARNING_SHARE, _ERROR_SHARE = 1 / 4, 1 / 8
_WARNING, _ERROR = timedelta(days=30).total_seconds(), timedelta(days=7).total_seconds()
_UNWATCHED = frozenset({OPERATOR, WORKER, BUS_ADMIN})
"""Made for an occasion and renewed by nobody."""
_BACKDATED = 60
"""Seconds by which the beginning of a CA is earlier than its making."""
_MAX_TOLD = 10_000

type Severity = Literal["warning", "error"]


class Watched(NamedTuple):
    """A certificate, with its life in seconds since the epoch."""

    identity: str
    serial: str
    begin: int
    end: int


class Connections(Protocol):
    """Who is on the bus; ``bus_admin.py``."""

    async def connections(self) -> list[Connection]: ...


class Announcer(Protocol):
    """Who is told; ``announcing.py``."""

    async def expiring(self, identity: str, serial: str, not_after: int, severity: Severity) -> None: ...


def severity(certificate: Watched, now: float) -> Severity | None:
    """How bad it is that a certificate was not replaced yet."""
    left, life = certificate.end - now, certificate.end - certificate.begin
    if left < min(_ERROR, life * _ERROR_SHARE):
        return "error"
    return "warning" if left < min(_WARNING, life * _WARNING_SHARE) else None


class ExpiryMonitor:
    """Looks at the newest leaf of each identity and at the CAs, every ``pause`` seconds."""

    def __init__(
        self,
        engine: AsyncEngine,
        generations: Generations,
        admin: Connections,
        announcer: Announcer,
        pause: float,
        clock: Clock,
    ) -> None:
        self._engine = engine
        self._generations = generations
        self._admin = admin
        self._announcer = announcer
        self._pause = pause
        self._clock = clock
        self._watched: Sequence[Watched] = ()
        self._told: set[tuple[str, Severity]] = set()
        telemetry.meter().create_observable_gauge(
            telemetry.CERTIFICATE_TIME_LEFT, [self._observe], unit="s",
            description="how long the newest certificate of an identity still counts",
        )  # fmt: skip

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look()
            except SQLAlchemyError as error:
                _log.warning("certificates not looked at", error=type(error).__name__)
            await self._clock.sleep(self._pause)

    async def look(self) -> None:
        """Take the certificates of the moment, and tell of those that are late, each once for each severity."""
        now = self._clock.time()
        async with transaction(self._engine) as session:
            leaves = await store.newest_leaves(session, int(now))
        found = [Watched(leaf.identity, leaf.serial, leaf.not_before, leaf.not_after) for leaf in leaves]
        self._watched = [*(one for one in found if one.identity not in _UNWATCHED), *self._cas()]
        late: list[tuple[Watched, Severity]] = []
        for one in self._watched:
            bad = severity(one, now)
            if bad is not None:
                late.append((one, bad))
        here = await self._connected() if late else frozenset[str]()
        for one, bad in late:
            # A service that was taken away lets its last leaf expire, and nothing is wrong with that.
            if (here is None or one.identity in here or one.identity.startswith("ca-")) and self._is_news(one, bad):
                say = _log.error if bad == "error" else _log.warning
                say("certificate not replaced in time", identity=one.identity, serial=one.serial,
                    seconds_left=int(one.end - now))  # fmt: skip
                await self._announcer.expiring(one.identity, one.serial, one.end, bad)

    def _cas(self) -> Iterable[Watched]:
        for one in self._generations.counting:
            for role, ca in (("root", one.authority.root), ("issuing", one.authority.issuer.certificate)):
                begin, end = (int(moment.timestamp()) for moment in (ca.not_valid_before_utc, ca.not_valid_after_utc))
                begin += _BACKDATED
                yield Watched(f"ca-{one.number}-{role}", f"{ca.serial_number:x}", begin, end)

    async def _connected(self) -> frozenset[str] | None:
        """The identities on the bus, and those that certs makes; None when the bus does not say."""
        try:
            connections = await self._admin.connections()
        except InterlockError:
            return None
        return frozenset({"bus", "certs", *(one.user.rpartition("/")[2] for one in connections)})

    def _is_news(self, one: Watched, bad: Severity) -> bool:
        if (one.serial, bad) in self._told:
            return False
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told.add((one.serial, bad))
        return True

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        now = self._clock.time()
        return [Observation(one.end - now, {telemetry.IDENTITY: one.identity}) for one in self._watched]
