"""Which method is served how, whichever way a request came: over HTTP, a WebSocket, or plain JSON-RPC."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import msgspec
from opentelemetry.trace import SpanKind

from interlock_common import telemetry
from interlock_common.messages.gateway import Session
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.client import Client
from interlock_gateway.handshake import discover_result
from interlock_gateway.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from interlock_gateway.listing import LISTS, Listing
from interlock_gateway.operations import OPERATIONS, Operation, Params
from interlock_gateway.routing import offer_for
from interlock_gateway.sessions.registry import Sessions
from interlock_gateway.tool_calls import Call, ToolCalls

_MAX_NAME = 128
_LEVELS = frozenset({"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"})


@dataclass(slots=True)
class Incoming:
    """One JSON-RPC request; ``session`` is the key and the record of its session, None in the stateless era."""

    caller: Caller
    server_id: str | None
    request_id: jsonrpc.Id
    method: str
    params: Params
    meta: Params
    peer: str
    headers: Mapping[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    session: tuple[str, Session] | None = None
    target: str = ""

    @property
    def modern(self) -> bool:
        return self.session is None


type Method = Callable[[Incoming, Client], Awaitable[None]]


class Methods:
    """Serves requests that have been authenticated, parsed, and found to fit their era.

    ``more`` are methods that other modules bring, by name; ``require_fresh`` refuses a method that must not be served
    while it is not known whether its caller is revoked.
    """

    def __init__(
        self, tool_calls: ToolCalls, listing: Listing, sessions: Sessions, more: Mapping[str, Method] | None = None,
        *, require_fresh: Callable[[str], None] = lambda _method: None,
    ) -> None:  # fmt: skip
        self._tool_calls = tool_calls
        self._listing = listing
        self._sessions = sessions
        self._more = more or {}
        self._require_fresh = require_fresh
        self.operations: Mapping[str, Operation] = {**OPERATIONS, **tool_calls.tasks.operations()}

    async def serve(self, request: Incoming, client: Client) -> None:
        """Answer through ``client``; raises RpcError or InterlockError for what the caller is to be told."""
        method = request.method
        self._require_fresh(method)
        if method in self.operations:
            await self._call(request, client)
        elif method in LISTS:
            await self._list(request, client)
        elif method in self._more:
            await self._more[method](request, client)
        elif method == "ping" and not request.modern:
            await _answer(request, client, b"{}")
        elif method == "server/discover" and request.modern:
            offer = offer_for(self._tool_calls.catalog, request.caller, request.server_id)
            await _answer(request, client, discover_result(offer, request.caller))
        elif method == "logging/setLevel" and request.session is not None:
            await self._set_level(request, client, request.session[0])
        else:
            raise RpcError(METHOD_NOT_FOUND, f"unknown method {method[:_MAX_NAME]}", status=404)

    async def _call(self, request: Incoming, client: Client) -> None:
        operation = self.operations[request.method]
        target = request.target = request.target or operation.target(request.params)
        call = Call(
            operation=operation,
            caller=request.caller,
            server_id=request.server_id,
            request_id=request.request_id,
            target=target,
            params=request.params,
            meta=request.meta,
            headers=request.headers,
            peer=request.peer,
            session=request.session,
        )
        attributes = {telemetry.MCP_METHOD: request.method, telemetry.MCP_TOOL: target}
        with telemetry.span(f"{request.method} {target}", SpanKind.SERVER, attributes=attributes):
            await self._tool_calls.call_tool(call, client)

    async def _list(self, request: Incoming, client: Client) -> None:
        with telemetry.span(request.method, SpanKind.SERVER, attributes={telemetry.MCP_METHOD: request.method}):
            offer = offer_for(self._tool_calls.catalog, request.caller, request.server_id)
            page = self._listing.page(request.method, offer, request.caller, request.params, modern=request.modern)
            await _answer(request, client, page)

    async def _set_level(self, request: Incoming, client: Client, session: str) -> None:
        level = jsonrpc.string(request.params.get("level"), "params.level")
        if level not in _LEVELS:
            raise RpcError(INVALID_PARAMS, f"level must be one of {', '.join(sorted(_LEVELS))}")
        await self._sessions.update(session, lambda record: msgspec.structs.replace(record, log_level=level))
        await _answer(request, client, b"{}")


async def _answer(request: Incoming, client: Client, result: bytes) -> None:
    await client.answer(jsonrpc.answer(request.request_id, result))
