"""Who has applied a revocation: the edges that are there, what they have confirmed, and who is late."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import structlog

from interlock_common.clock import Clock
from interlock_common.messages.revocation import Confirmation, Receipt

WAIT_SECONDS = 2.0
"""How long a receipt waits for edges at most."""
_MARGIN_SECONDS = 2.0
"""Silent for its lease and as long again, an edge refuses by itself: it is late, and nobody waits for it."""
_REMEMBERED_SECONDS = 60.0
_SETTLING_SECONDS = 1.5
"""After its start auth knows no edge yet; each answers the next heartbeat."""
_MAX_EDGES = 10_000
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Edge:
    sequence: int
    confirmed_at: float
    heard_at: float
    lease: float


@dataclass(eq=False, slots=True)
class _Waiting:
    revision: int
    missing: set[str]
    last: float
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def confirm(self, edge: str, at: float) -> None:
        if edge in self.missing:
            self.missing.discard(edge)
            self.last = max(self.last, at)
            if not self.missing:
                self.done.set()


class Receipts:
    """The edges as their confirmations show them.

    ``met`` is called for an edge that was not known: it waits to hear from us.
    """

    def __init__(self, clock: Clock, *, wait: float = WAIT_SECONDS, settling: float = _SETTLING_SECONDS) -> None:
        self._clock = clock
        self._wait = wait
        self._edges: dict[str, _Edge] = {}
        self._waiting: set[_Waiting] = set()
        self._settling = settling
        self._settled_at = clock.monotonic() + settling
        self.met: Callable[[], None] = lambda: None

    def listening(self) -> None:
        """From now on confirmations arrive here; who is there shows within the next heartbeats."""
        self._settled_at = self._clock.monotonic() + self._settling

    def heard(self, confirmation: Confirmation) -> None:
        """Take note of what an edge said."""
        now, name = self._clock.monotonic(), confirmation.edge
        if confirmation.leaving:
            self._edges.pop(name, None)
        else:
            known = self._edges.get(name)
            if known is None:
                self._forget_silent(now)
                if len(self._edges) >= _MAX_EDGES:
                    return
                self._edges[name] = _Edge(confirmation.sequence, now, now, confirmation.lease)
                self.met()
            else:
                if confirmation.sequence != known.sequence:
                    known.sequence, known.confirmed_at = confirmation.sequence, now
                known.heard_at, known.lease = now, confirmation.lease
        for waiting in self._waiting:
            if confirmation.leaving or confirmation.sequence >= waiting.revision:
                waiting.confirm(name, now)

    async def of(self, receipt: Receipt, began: float) -> Receipt:
        """The receipt with what the edges confirmed, once all of those that listen have, or the time is over."""
        if (settling := self._settled_at - self._clock.monotonic()) > 0:
            await self._clock.sleep(settling)
        now = self._clock.monotonic()
        self._forget_silent(now)
        expected = dict(self._edges)
        applied = {name for name, edge in expected.items() if edge.sequence >= receipt.revision}
        silent = {name for name, edge in expected.items() if now - edge.heard_at > edge.lease + _MARGIN_SECONDS}
        last = max((expected[name].confirmed_at for name in applied), default=began)
        waiting = _Waiting(receipt.revision, expected.keys() - applied - silent, max(last, began))
        if waiting.missing:
            await self._all_of(waiting)
        late = sorted(waiting.missing | (silent - applied))
        if late:
            _log.warning("a revocation is not confirmed by every edge", revision=receipt.revision, late=late)
        slowest = round((waiting.last - began) * 1000, 3) if len(late) < len(expected) else 0.0
        return msgspec.structs.replace(
            receipt, applied=len(expected) - len(late), of=len(expected), max_ms=slowest, late=tuple(late)
        )

    async def _all_of(self, waiting: _Waiting) -> None:
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(self._wait):
                await waiting.done.wait()
        except TimeoutError:
            return
        finally:
            self._waiting.discard(waiting)

    def _forget_silent(self, now: float) -> None:
        silent = [name for name, edge in self._edges.items() if now - edge.heard_at > _REMEMBERED_SECONDS]
        for name in silent:
            del self._edges[name]
