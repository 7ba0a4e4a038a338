"""``/rpc``: one JSON-RPC request in, one response out, for scripts that speak no transport of MCP.

What a client of the stateless era says in ``_meta`` and headers may be left out here. Nothing is streamed:
notifications on the way are dropped.
"""

from dataclasses import dataclass

import msgspec
from opentelemetry import context as otel_context

from interlock_common import telemetry
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints.front import HttpFront
from interlock_gateway.endpoints.leaving import while_connected
from interlock_gateway.endpoints.reply import Reply, Send
from interlock_gateway.endpoints.requests import McpRequest, Receive, Scope
from interlock_gateway.jsonrpc import INVALID_REQUEST, RpcError
from interlock_gateway.methods import Incoming, Methods

_ALLOW = ((b"allow", b"POST"),)
_NO_CONTENT = 204


class PlainReply(Reply):
    """Takes nothing but the response."""

    async def notify(self, message: bytes) -> None:
        """Nobody is there to take it."""


@dataclass(frozen=True, slots=True)
class RpcEndpoint:
    """Everything a plain JSON-RPC request needs."""

    front: HttpFront
    methods: Methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = McpRequest(scope, receive, PlainReply(send), None, dict(scope["headers"]))
        await self.front.serve(request, self._serve)

    async def _serve(self, request: McpRequest, caller: Caller) -> None:
        if request.scope["method"] != "POST":
            await request.reply.json(b"", status=405, headers=_ALLOW)
            return
        envelope = jsonrpc.parse_request(await request.body(self.front.max_body))
        if envelope.method is None:
            raise RpcError(INVALID_REQUEST, "the body is an answer, and nothing was asked", status=400)
        request.method = envelope.method
        if isinstance(envelope.id, msgspec.UnsetType):
            await request.reply.json(b"", status=_NO_CONTENT)
            return
        request.request_id = envelope.id
        params, meta = jsonrpc.params_and_meta(envelope)
        incoming = Incoming(caller, None, envelope.id, envelope.method, params, meta, request.peer)
        token = otel_context.attach(telemetry.continue_or_begin(request.trace_carrier(meta)))
        try:
            async with while_connected(request.receive, request.reply.lost):
                await self.methods.serve(incoming, request.reply)
        finally:
            request.target = incoming.target
            otel_context.detach(token)
