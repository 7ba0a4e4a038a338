"""Calls that wait for a client of the stateless era to come back with what their upstream asked for.

A held call is a task and a connection to its upstream, so there are only so many, for so long. They end with the
process: the client is then told to ask anew.
"""

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import structlog

from interlock_common.clock import Clock
from interlock_common.errors import TooManyRequests
from interlock_gateway.held.request_state import STATE, RequestStates, gone
from interlock_gateway.jsonrpc import INVALID_PARAMS, RpcError
from interlock_gateway.upstreams.transport import UpstreamRequest

_log = structlog.get_logger()


class TooManyHeld(TooManyRequests):
    code = "too_many_held_calls"


class Holdable(Protocol):
    """A call that can wait."""

    hold: str
    """Its id from the first time on that it is held."""

    @property
    def request(self) -> UpstreamRequest: ...

    async def close(self) -> None:
        """End it, and cancel it at the upstream."""
        ...


@dataclass(slots=True)
class _Held[C: Holdable]:
    call: C
    expiry: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> bool:
        return self.expiry is not None


class Holding[C: Holdable]:
    """The calls that this edge holds: at most ``per_principal`` and ``total``, for ``lifetime`` seconds a round.

    Of what may run at an upstream at once (``upstream_concurrency``, unless it has a limit of its own) at most half
    may wait: the rest is for those that do not.
    """

    def __init__(
        self, states: RequestStates, clock: Clock, edge: str, *, lifetime: float = 300.0, per_principal: int = 16,
        upstream_concurrency: int = 64, total: int = 1000,
    ) -> None:  # fmt: skip
        self.states = states
        self.edge = edge
        self._clock = clock
        self._lifetime = lifetime
        self._per_principal = per_principal
        self._upstream_concurrency = upstream_concurrency
        self._total = total
        self._held: dict[str, _Held[C]] = {}
        self._of_principals: Counter[str] = Counter()
        self._at_upstreams: Counter[str] = Counter()
        self._ending: set[asyncio.Task[None]] = set()

    def keep(self, call: C) -> str:
        """Have ``call`` wait; answers the ``requestState`` of this round. Raises TooManyHeld."""
        held = self._held.get(call.hold) or self._admit(call)
        held.expiry = asyncio.create_task(self._expire(call), name=f"expiry of held call {call.hold}")
        return self.states.seal(call.request, self.edge, call.hold, self._lifetime)

    def resume(self, hold: str, principal: str) -> C:
        """The call that waits; raises RpcError where there is none, or another request goes on with it already."""
        held = self._held.get(hold)
        if held is None or held.call.request.principal != principal:
            raise gone()
        if held.expiry is None:
            message = f"the call of this {STATE} is being gone on with by another request"
            raise RpcError(INVALID_PARAMS, message, status=400, data={"code": "request_state_in_use"})
        held.expiry.cancel()
        held.expiry = None
        return held.call

    def waits(self, call: C) -> bool:
        """Whether ``call`` waits at the moment, rather than being gone on with, or being new."""
        held = self._held.get(call.hold)
        return held is not None and held.waiting

    def forget(self, call: C) -> None:
        """A call that has ended takes no place."""
        if self._held.pop(call.hold, None) is not None:
            _give_back(self._of_principals, call.request.principal)
            _give_back(self._at_upstreams, call.request.upstream.id)

    def end_revoked(self) -> None:
        """End every call that waits for whoever no longer counts."""
        for held in list(self._held.values()):
            if held.expiry is not None and not held.call.request.counts():
                held.expiry.cancel()
                self._end(held.call)

    async def stop(self) -> None:
        """End every call that waits; the process ends."""
        held = list(self._held.values())
        for each in held:
            if each.expiry is not None:
                each.expiry.cancel()
            self.forget(each.call)
        await asyncio.gather(*(each.call.close() for each in held), *self._ending, return_exceptions=True)

    def _admit(self, call: C) -> _Held[C]:
        principal, upstream = call.request.principal, call.request.upstream
        if self._of_principals[principal] >= self._per_principal:
            raise TooManyHeld(f"a principal has at most {self._per_principal} calls waiting for it", retry_after=5)
        most = max(1, (upstream.limits.concurrency or self._upstream_concurrency) // 2)
        if self._at_upstreams[upstream.id] >= most:
            text = f"{most} calls at upstream {upstream.name} wait for their clients already"
            raise TooManyHeld(text, retry_after=5)
        if len(self._held) >= self._total:
            raise TooManyHeld(f"{self._total} calls wait for their clients already", retry_after=5)
        call.hold = secrets.token_hex(16)
        held = self._held[call.hold] = _Held(call)
        self._of_principals[principal] += 1
        self._at_upstreams[upstream.id] += 1
        return held

    async def _expire(self, call: C) -> None:
        await self._clock.sleep(self._lifetime)
        _log.info("nobody came back to a call that waited", upstream=call.request.upstream.name)
        self._end(call)

    def _end(self, call: C) -> None:
        self.forget(call)
        ending = asyncio.create_task(call.close(), name=f"end of held call {call.hold}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _give_back(places: Counter[str], name: str) -> None:
    """A name without calls takes no memory."""
    places[name] -= 1
    if places[name] <= 0:
        del places[name]
