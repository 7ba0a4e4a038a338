"""``/mcp`` and ``/servers/{id}/mcp`` over HTTP: authenticate, parse the envelope, and hand over to what was asked for.

A plain ASGI endpoint that speaks both eras on one URL (MCP 2026-07-28 and the revisions before it).
"""

from dataclasses import dataclass

import msgspec
from opentelemetry import context as otel_context

from interlock_common import telemetry
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.endpoints.batch import Batches, is_batch
from interlock_gateway.endpoints.front import HttpFront
from interlock_gateway.endpoints.leaving import while_connected
from interlock_gateway.endpoints.reply import Reply, Send
from interlock_gateway.endpoints.requests import McpRequest, Receive, Scope
from interlock_gateway.handshake import initialize_result, read_initialize
from interlock_gateway.jsonrpc import INVALID_REQUEST, Envelope, RpcError
from interlock_gateway.methods import Incoming, Methods
from interlock_gateway.operations import Params
from interlock_gateway.revisions import LEGACY, SESSION_HEADER, VERSION_HEADER, check_modern, is_modern
from interlock_gateway.routing import Catalog, offer_for
from interlock_gateway.sessions.registry import OpenSession, Sessions
from interlock_gateway.sessions.traffic import SessionTraffic

_ACCEPTED = 202
_ALLOW = ((b"allow", b"GET, POST, DELETE"),)


@dataclass(frozen=True, slots=True)
class McpEndpoint:
    """Everything an MCP request over streamable HTTP needs."""

    front: HttpFront
    catalog: Catalog
    methods: Methods
    sessions: Sessions
    traffic: SessionTraffic

    @property
    def _batches(self) -> Batches:
        return Batches(self.front, self.methods, self.traffic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, server_id: str | None) -> None:
        request = McpRequest(scope, receive, Reply(send), server_id, dict(scope["headers"]))
        await self.front.serve(request, self._serve)

    async def _serve(self, request: McpRequest, caller: Caller) -> None:
        match request.scope["method"]:
            case "POST":
                await self._post(request, caller)
            case "GET":
                await self._get(request, caller)
            case "DELETE":
                await self._delete(request, caller)
            case _:
                await request.reply.json(b"", status=405, headers=_ALLOW)

    async def _post(self, request: McpRequest, caller: Caller) -> None:
        body = await request.body(self.front.max_body)
        if is_batch(body) and SESSION_HEADER in request.headers:
            await self._batches.serve(request, caller, await self._session(request, caller), body)
            return
        envelope = jsonrpc.parse_request(body)
        if envelope.method is None:
            await self._answered(request, caller, envelope)
            return
        request.method = envelope.method
        params, meta = jsonrpc.params_and_meta(envelope)
        modern = is_modern(request.headers, meta)
        if isinstance(envelope.id, msgspec.UnsetType):
            await self._notified(request, caller, envelope, modern=modern)
            return
        request.request_id = envelope.id
        token = otel_context.attach(telemetry.continue_or_begin(request.trace_carrier(meta)))
        try:
            if modern:
                await self._modern(request, caller, params, meta)
            else:
                await self._legacy(request, caller, envelope, params, meta)
        finally:
            otel_context.detach(token)

    async def _modern(self, request: McpRequest, caller: Caller, params: Params, meta: Params) -> None:
        operation = self.methods.operations.get(request.method)
        if operation is not None:
            request.target = operation.target(params)
        named = request.target if operation is not None and operation.in_header else None
        check_modern(request.headers, meta, request.method, named)
        async with while_connected(request.receive, request.reply.lost):
            with self.traffic.pulse.beating(request.reply):
                await self.methods.serve(_incoming(request, caller, params, meta), request.reply)

    async def _legacy(
        self, request: McpRequest, caller: Caller, envelope: Envelope, params: Params, meta: Params
    ) -> None:
        if request.method == "initialize":
            await self._initialize(request, caller, envelope)
            return
        session = await self._session(request, caller)
        incoming = _incoming(request, caller, params, meta, session)
        client = self.traffic.reply(session, request)

        async def work() -> None:
            await self.methods.serve(incoming, client)

        # In a task of its own, as it goes on when the connection is gone; a revocation must find it then too.
        live = self.front.live
        await self.traffic.run(client, lambda: self.front.guarded(request, lambda: live.watched(caller, work)))

    async def _initialize(self, request: McpRequest, caller: Caller, envelope: Envelope) -> None:
        offer = offer_for(self.catalog, caller, request.server_id)
        asked = read_initialize(envelope.params)
        session = await self.sessions.open(caller, asked, request.server_id)
        headers = ((SESSION_HEADER, session.id.encode()),)
        result = initialize_result(asked.version, offer, caller)
        await request.reply.json(jsonrpc.answer(request.request_id, result), headers=headers)

    async def _session(self, request: McpRequest, caller: Caller) -> OpenSession:
        """The session of a request of the handshake era, checked to be the caller's."""
        version = request.headers.get(VERSION_HEADER)
        if version is not None and version.decode("latin-1") not in LEGACY:
            raise RpcError(INVALID_REQUEST, "this protocol version is not supported", status=400)
        header = request.headers.get(SESSION_HEADER)
        if header is None:
            raise RpcError(INVALID_REQUEST, "header Mcp-Session-Id is missing: initialize first", status=400)
        return await self.sessions.find(header.decode("latin-1"), caller, request.server_id)

    async def _answered(self, request: McpRequest, caller: Caller, envelope: Envelope) -> None:
        """A client's response to what it was asked on a stream."""
        if SESSION_HEADER not in request.headers:
            raise RpcError(INVALID_REQUEST, "the body is an answer, and nothing was asked", status=400)
        await self.traffic.answered(await self._session(request, caller), envelope)
        await request.reply.json(b"", status=_ACCEPTED)

    async def _notified(self, request: McpRequest, caller: Caller, envelope: Envelope, *, modern: bool) -> None:
        if not modern and SESSION_HEADER in request.headers:
            await self.traffic.notified(await self._session(request, caller), envelope)
        await request.reply.json(b"", status=_ACCEPTED)

    async def _get(self, request: McpRequest, caller: Caller) -> None:
        """The stream of a session on which the server speaks unasked, or one that is to be resumed."""
        if b"text/event-stream" not in request.headers.get(b"accept", b""):
            raise RpcError(INVALID_REQUEST, "a GET must accept text/event-stream", status=406)
        if SESSION_HEADER not in request.headers:  # the stateless era has no such stream
            await request.reply.json(b"", status=405, headers=((b"allow", b"POST"),))
            return
        await self.traffic.stream(await self._session(request, caller), request, caller)

    async def _delete(self, request: McpRequest, caller: Caller) -> None:
        await self.traffic.end(await self._session(request, caller))
        await request.reply.json(b"", status=204)


def _incoming(
    request: McpRequest, caller: Caller, params: Params, meta: Params, session: OpenSession | None = None
) -> Incoming:
    return Incoming(
        caller=caller,
        server_id=request.server_id,
        request_id=request.request_id,
        method=request.method,
        params=params,
        meta=meta,
        peer=request.peer,
        headers=request.headers,
        session=(session.key, session.record) if session else None,
        target=request.target,
    )
