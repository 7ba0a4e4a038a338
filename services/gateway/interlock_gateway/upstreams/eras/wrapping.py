"""Clients and upstreams of different eras: each sees the other as if it were of its own."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.held.holding import Holding
from interlock_gateway.held.request_state import RESPONSES, STATE, HeldAt, gone
from interlock_gateway.held.resuming import Responses, going_on
from interlock_gateway.revisions import META_LOG_LEVEL
from interlock_gateway.upstreams.eras.as_legacy import as_legacy
from interlock_gateway.upstreams.eras.as_modern import ModernCall
from interlock_gateway.upstreams.eras.declared import declines
from interlock_gateway.upstreams.eras.detached import Detached
from interlock_gateway.upstreams.eras.log_levels import LogLevels
from interlock_gateway.upstreams.eras.pools import Pools, pool_key
from interlock_gateway.upstreams.eras.told import Told
from interlock_gateway.upstreams.transport import Exchange, Transport, UpstreamRequest

_encode = msgspec.json.encode


class Elsewhere(Protocol):
    """The way to calls that other edges hold."""

    def elsewhere(
        self, held: HeldAt, principal: str, responses: Responses
    ) -> AbstractAsyncContextManager[Exchange]: ...


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request of a client without what only its own era has, and that: state, responses, level, token."""

    request: UpstreamRequest
    state: msgspec.Raw | None
    responses: dict[str, msgspec.Raw]
    level: str
    token: msgspec.Raw | None


class Eras:
    """Opens exchanges so that the upstream looks to be of the client's era.

    ``elsewhere`` leads to calls that other edges hold; without it there are none.
    """

    def __init__(self, holding: Holding[ModernCall], elsewhere: Elsewhere | None = None) -> None:
        self._holding = holding
        self._elsewhere = elsewhere
        self._levels = LogLevels()
        self._pools = Pools()

    def open(
        self, transport: Transport, request: UpstreamRequest, *, modern: bool
    ) -> AbstractAsyncContextManager[Exchange]:
        """Send ``request`` for a client of the stateless era, or of the handshake era."""
        if request.upstream.era == "modern":
            return transport.open(request) if modern else as_legacy(transport.open, request)
        asked = _separated(request)
        if modern:
            return self._for_modern(transport, asked)
        return self._at_level(transport, asked.request, asked.level)

    def _at_level(
        self, transport: Transport, request: UpstreamRequest, level: str
    ) -> AbstractAsyncContextManager[Exchange]:
        return self._levelled(transport, request, level) if level else transport.open(request)

    @asynccontextmanager
    async def _levelled(self, transport: Transport, request: UpstreamRequest, level: str) -> AsyncGenerator[Exchange]:
        await self._levels.ensure(transport, request, level)
        async with transport.open(request) as exchange:
            yield exchange

    @asynccontextmanager
    async def _pooled(self, transport: Transport, request: UpstreamRequest, level: str) -> AsyncGenerator[Exchange]:
        with self._pools.using(transport, request):
            async with self._at_level(transport, request, level) as exchange:
                yield exchange

    @asynccontextmanager
    async def _for_modern(self, transport: Transport, asked: _Asked) -> AsyncGenerator[Exchange]:
        opened = self._begin(transport, asked) if asked.state is None else self._go_on(asked, asked.state)
        async with opened as exchange:
            yield Told(exchange, asked.level, asked.token, renewed=asked.state is not None)

    @asynccontextmanager
    async def _begin(self, transport: Transport, asked: _Asked) -> AsyncGenerator[Exchange]:
        request = asked.request
        request = replace(request, session_key=pool_key(request, asked.level))
        opening = self._pooled(transport, request, asked.level)
        detached = Detached(opening, f"{request.method} at {request.upstream.name}")
        declined = any(declines(bytes(response)) for response in asked.responses.values())
        call = ModernCall(request, detached, self._holding, declined=declined)
        try:
            yield call
        finally:
            await call.leave()

    @asynccontextmanager
    async def _go_on(self, asked: _Asked, state: msgspec.Raw) -> AsyncGenerator[Exchange]:
        request = asked.request
        held = self._holding.states.open(state, request)
        if held.edge == self._holding.edge:
            opened = going_on(self._holding.resume(held.hold, request.principal), asked.responses)
        elif self._elsewhere is not None:
            opened = self._elsewhere.elsewhere(held, request.principal, asked.responses)
        else:
            raise gone()
        async with opened as exchange:
            yield exchange


def _separated(request: UpstreamRequest) -> _Asked:
    """Raises RpcError -32602 for responses that are none."""
    params = jsonrpc.members(msgspec.Raw(request.params))
    meta = jsonrpc.members(params["_meta"], "_meta") if "_meta" in params else {}
    state, given = params.pop(STATE, None), params.pop(RESPONSES, None)
    level = meta.pop(META_LOG_LEVEL, None)
    if level is not None:
        params["_meta"] = msgspec.Raw(_encode(meta))
    if state is not None or given is not None or level is not None:
        request = replace(request, params=_encode(params))
    return _Asked(
        request=request,
        state=state,
        responses={} if given is None else jsonrpc.members(given, f"params.{RESPONSES}"),
        level="" if level is None else _text(level),
        token=meta.get("progressToken"),
    )


def _text(level: msgspec.Raw) -> str:
    return jsonrpc.string(level, f"_meta {META_LOG_LEVEL}")
