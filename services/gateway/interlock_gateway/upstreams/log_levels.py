"""The log level of sessions at upstreams of the handshake era: set once, when it is not what it was.

In the stateless era each request says what it wants to hear; in the handshake era a session is told once.
"""

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


class LogLevels:
    """Remembers what this edge has set; at worst a level is set again."""

    def __init__(self, limit: int = _MAX_REMEMBERED) -> None:
        self._limit = limit
        self._set: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def ensure(self, transport: Transport, request: UpstreamRequest, level: str) -> None:
        """Have the session of ``request`` at ``level``; an upstream that does not want to is left as it is."""
        key = (request.upstream.id, request.session_key)
        if level not in LEVELS or self._set.get(key) == level or not _logs(request.upstream):
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
        self._set[key] = level
        self._set.move_to_end(key)
        if len(self._set) > self._limit:
            self._set.popitem(last=False)


def _logs(upstream: Upstream) -> bool:
    try:
        return "logging" in jsonrpc.members(upstream.capabilities)
    except RpcError:
        return False
