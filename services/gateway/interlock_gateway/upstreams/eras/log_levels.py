"""The log level of sessions at upstreams of the handshake era: set once, when it is not what it was.

In the stateless era each request says what it wants to hear; in the handshake era a session is told once.
"""

import asyncio
from collections import OrderedDict
from dataclasses import replace

import msgspec
import structlog

from interlock_common.errors import InterlockError
from interlock_common.messages.catalog import Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.upstreams.transport import Transport, UpstreamRequest

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""From the least severe on (RFC 5424, as MCP names them)."""

_log = structlog.get_logger()
_MAX_REMEMBERED = 10_000
_REMEMBERED_SECONDS = 60.0
"""After that a level is set again: another edge may have set another, and a session may have been opened anew."""


class LogLevels:
    """Remembers what this edge has set; at worst a level is set again."""

    def __init__(self, limit: int = _MAX_REMEMBERED) -> None:
        self._limit = limit
        self._set: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    async def ensure(self, transport: Transport, request: UpstreamRequest, level: str) -> None:
        """Have the session of ``request`` at ``level``; an upstream that does not want to is left as it is."""
        key = (request.upstream.id, request.session_key)
        now = asyncio.get_running_loop().time()
        known, until = self._set.get(key, ("", 0.0))
        if level not in LEVELS or (known == level and now < until) or not _logs(request.upstream):
            return
        params = msgspec.json.encode({"level": level})
        setting = replace(request, method="logging/setLevel", name="", params=params, param_headers=())
        try:
            async with transport.open(setting) as exchange:
                async for _ in exchange:
                    pass
        except InterlockError as error:
            _log.info("a log level could not be set", upstream=request.upstream.name, reason=error.detail)
            return  # the call itself will find out whether the upstream is there
        self._set[key] = (level, now + _REMEMBERED_SECONDS)
        self._set.move_to_end(key)
        if len(self._set) > self._limit:
            self._set.popitem(last=False)


def _logs(upstream: Upstream) -> bool:
    try:
        return "logging" in jsonrpc.members(upstream.capabilities)
    except RpcError:
        return False
