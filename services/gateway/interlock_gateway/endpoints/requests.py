"""One HTTP request to the MCP endpoint, as it comes through ASGI."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from interlock_common import telemetry
from interlock_common.errors import TooLarge
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints.reply import Reply
from interlock_gateway.jsonrpc import INVALID_REQUEST, RpcError

_BODY_SECONDS = 30.0

type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Scope = dict[str, Any]


@dataclass(slots=True)
class McpRequest:
    """The request and what is known of it so far, for the answer and for the record."""

    scope: Scope
    receive: Receive
    reply: Reply
    server_id: str | None
    headers: dict[bytes, bytes]
    caller: Caller | None = None
    method: str = ""
    target: str = ""
    request_id: jsonrpc.Id = None

    @property
    def peer(self) -> str:
        client = self.scope.get("client")
        return f"{client[0]}:{client[1]}" if client else ""

    async def body(self, limit: int) -> bytes:
        """The whole body; raises TooLarge over ``limit`` bytes, RpcError when it ends early or comes too slowly."""
        declared = self.headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"the body is over {limit} bytes")
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await self._read(limit)
        except TimeoutError:
            message = f"the body did not arrive within {_BODY_SECONDS:g} s"
            raise RpcError(INVALID_REQUEST, message, status=408) from None

    async def _read(self, limit: int) -> bytes:
        body = bytearray()
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise RpcError(INVALID_REQUEST, "the body ended early", status=400)
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                raise TooLarge(f"the body is over {limit} bytes")
        return bytes(body)

    def trace_carrier(self, meta: dict[str, msgspec.Raw]) -> dict[str, str]:
        """The trace context: of the HTTP headers, or of the message's ``_meta`` where they have none."""
        fields, headers = telemetry.CONTEXT_FIELDS, self.headers
        if b"traceparent" in headers:
            return {name: headers[name.encode()].decode("latin-1") for name in fields if name.encode() in headers}
        return {name: jsonrpc.string(meta[name], f"_meta.{name}") for name in fields if name in meta}
