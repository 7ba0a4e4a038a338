"""What the client of one stateless request is told while an upstream of the handshake era works for it."""

from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from interlock_gateway import jsonrpc
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.upstreams.eras.log_levels import LEVELS
from interlock_gateway.upstreams.transport import Exchange

_encode = msgspec.json.encode


class Told:
    """An exchange whose log messages are those that the request asked for, and whose progress has its token.

    ``level`` is empty where the request asked for none: it then gets none (MCP 2026-07-28, logging). ``renewed`` says
    that the request goes on with a call that was begun by another, under another token.
    """

    def __init__(self, exchange: Exchange, level: str, token: msgspec.Raw | None, *, renewed: bool) -> None:
        self._exchange = exchange
        self._least = LEVELS.index(level) if level in LEVELS else len(LEVELS)
        self._token = token
        self._renewed = renewed

    async def answer(self, message: bytes) -> None:
        await self._exchange.answer(message)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._messages()

    async def _messages(self) -> AsyncGenerator[bytes]:
        async for message in self._exchange:
            told = self._told(message)
            if told is not None:
                yield told

    def _told(self, message: bytes) -> bytes | None:
        if b'"notifications/' not in message:
            return message
        try:
            envelope = jsonrpc.parse(message)
        except RpcError:
            return message  # whoever reads it says so
        if envelope.method == "notifications/message":
            return message if _level_of(envelope.params) >= self._least else None
        if envelope.method == "notifications/progress" and self._renewed:
            return self._under_its_token(envelope.params)
        return message

    def _under_its_token(self, params: msgspec.Raw) -> bytes | None:
        if self._token is None:
            return None
        members = jsonrpc.members(params) | {"progressToken": self._token}
        return jsonrpc.notification("notifications/progress", _encode(members))


def _level_of(params: msgspec.Raw) -> int:
    """Where a log message stands; one of an unknown level is told to those who want everything."""
    try:
        return LEVELS.index(jsonrpc.string(jsonrpc.members(params).get("level"), "level"))
    except (RpcError, ValueError):
        return 0
