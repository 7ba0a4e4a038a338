"""``/mcp`` and ``/servers/{id}/mcp``: authenticate, parse the envelope, and hand over to what was asked for.

A plain ASGI endpoint that speaks both eras on one URL (MCP 2026-07-28 and the revisions before it).
"""

import asyncio
from dataclasses import dataclass

import msgspec
import structlog
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind

from interlock_common import telemetry
from interlock_common.errors import InterlockError, NotFound, PermissionDenied, TooLarge, Unauthenticated
from interlock_gateway import jsonrpc
from interlock_gateway.authentication import Authenticator, Caller
from interlock_gateway.errors import ScopeMissing, TokenRevoked
from interlock_gateway.handshake import discover_result, initialize_result, negotiate
from interlock_gateway.jsonrpc import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, Envelope, RpcError
from interlock_gateway.leaving import Gone, while_connected
from interlock_gateway.listing import list_tools
from interlock_gateway.live import Ended
from interlock_gateway.reply import Reply, Send
from interlock_gateway.requests import McpRequest, Receive, Scope
from interlock_gateway.revisions import (
    LEGACY,
    SESSION_HEADER,
    VERSION_HEADER,
    check_modern,
    is_modern,
)
from interlock_gateway.sessions import Sessions
from interlock_gateway.streams import Streams
from interlock_gateway.tool_calls import ToolCall, ToolCalls

_log = structlog.get_logger()
_ACCEPTED = 202
_MAX_NAME = 128
_ALLOW = ((b"allow", b"GET, POST, DELETE"),)


@dataclass(frozen=True, slots=True)
class McpEndpoint:
    """Everything an MCP request needs."""

    authenticator: Authenticator
    tool_calls: ToolCalls
    sessions: Sessions
    streams: Streams
    origins: frozenset[str]
    max_body: int
    public_url: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send, server_id: str | None) -> None:
        request = McpRequest(scope, receive, Reply(send), server_id, dict(scope["headers"]))
        try:
            await self._serve(request)
        except RpcError as error:
            await self._refuse(request, error)
        except InterlockError as error:
            await self._refuse(request, _as_rpc(error), error)
        except Ended:
            await self._end(request)
        except Gone:
            _log.info("the client left before its call was answered", record=request.reply.record_id)
        except asyncio.CancelledError:
            raise
        except Exception:  # noqa: BLE001 - the last line: a caller learns nothing of it, the log everything
            _log.exception("mcp request failed unexpectedly", method=request.method)
            await self._refuse(request, RpcError(INTERNAL_ERROR, "unexpected failure", status=500))

    async def _serve(self, request: McpRequest) -> None:
        self._check_origin(request)
        caller = request.caller = self.authenticator.caller(request.headers.get(b"authorization"))
        # From the very moment of the check on: a revocation must find whatever it let in.
        with self.tool_calls.live.on_behalf_of(caller.token_id):
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
        envelope = jsonrpc.parse(await request.body(self.max_body))
        if envelope.method is None:
            raise RpcError(INVALID_REQUEST, "the body is an answer, and nothing was asked", status=400)
        request.method = envelope.method
        if isinstance(envelope.id, msgspec.UnsetType):  # a notification: nothing to answer
            await request.reply.json(b"", status=_ACCEPTED)
            return
        request.request_id = envelope.id
        params = jsonrpc.members(envelope.params)
        meta = jsonrpc.members(params["_meta"], "_meta") if "_meta" in params else {}
        token = otel_context.attach(telemetry.continue_or_begin(request.trace_carrier(meta)))
        try:
            if is_modern(request.headers, meta):
                await self._modern(request, caller, params, meta)
            else:
                await self._legacy(request, caller, envelope, params, meta)
        finally:
            otel_context.detach(token)

    async def _modern(
        self,
        request: McpRequest,
        caller: Caller,
        params: dict[str, msgspec.Raw],
        meta: dict[str, msgspec.Raw],
    ) -> None:
        name = jsonrpc.string(params.get("name"), "params.name") if request.method == "tools/call" else None
        check_modern(request.headers, meta, request.method, name)
        match request.method:
            case "tools/call":
                async with while_connected(request.receive):
                    await self._call(request, caller, params, meta, session="")
            case "tools/list":
                await self._list(request, caller, modern=True)
            case "server/discover":
                await request.reply.json(jsonrpc.answer(request.request_id, discover_result()))
            case "ping":
                await request.reply.json(jsonrpc.answer(request.request_id, b'{"resultType":"complete"}'))
            case _:
                raise RpcError(METHOD_NOT_FOUND, f"unknown method {request.method[:_MAX_NAME]}", status=404)

    async def _legacy(
        self,
        request: McpRequest,
        caller: Caller,
        envelope: Envelope,
        params: dict[str, msgspec.Raw],
        meta: dict[str, msgspec.Raw],
    ) -> None:
        if request.method == "initialize":
            await self._initialize(request, caller, envelope)
            return
        session = await self._session(request, caller)
        match request.method:
            case "tools/call":
                await self._call(request, caller, params, meta, session=session)
            case "tools/list":
                await self._list(request, caller, modern=False)
            case "ping":
                await request.reply.json(jsonrpc.answer(request.request_id, b"{}"))
            case _:
                raise RpcError(METHOD_NOT_FOUND, f"unknown method {request.method[:_MAX_NAME]}")

    async def _initialize(self, request: McpRequest, caller: Caller, envelope: Envelope) -> None:
        version, capabilities = negotiate(envelope.params)
        session = await self.sessions.open(caller, version, request.server_id, capabilities)
        headers = ((SESSION_HEADER, session.encode()),)
        await request.reply.json(jsonrpc.answer(request.request_id, initialize_result(version)), headers=headers)

    async def _session(self, request: McpRequest, caller: Caller) -> str:
        """The session of a request of the handshake era, checked to be the caller's."""
        version = request.headers.get(VERSION_HEADER)
        if version is not None and version.decode("latin-1") not in LEGACY:
            raise RpcError(INVALID_REQUEST, "this protocol version is not supported", status=400)
        header = request.headers.get(SESSION_HEADER)
        if header is None:
            raise RpcError(INVALID_REQUEST, "header Mcp-Session-Id is missing: initialize first", status=400)
        session = header.decode("latin-1")
        await self.sessions.find(session, caller, request.server_id)
        return session

    async def _call(
        self,
        request: McpRequest,
        caller: Caller,
        params: dict[str, msgspec.Raw],
        meta: dict[str, msgspec.Raw],
        *,
        session: str,
    ) -> None:
        name = request.target = jsonrpc.string(params.get("name"), "params.name")
        call = ToolCall(
            caller=caller,
            server_id=request.server_id,
            request_id=request.request_id,
            name=name,
            params=params,
            meta=meta,
            modern=not session,
            session=session,
            peer=request.peer,
            param_headers=request.param_headers(),
        )
        with telemetry.span(
            f"tools/call {name}",
            SpanKind.SERVER,
            attributes={telemetry.MCP_METHOD: "tools/call", telemetry.MCP_TOOL: name},
        ):
            await self.tool_calls.call_tool(call, request.reply)

    async def _list(self, request: McpRequest, caller: Caller, *, modern: bool) -> None:
        with telemetry.span("tools/list", SpanKind.SERVER, attributes={telemetry.MCP_METHOD: "tools/list"}):
            result = list_tools(self.tool_calls.catalog, caller, request.server_id, modern=modern)
            await request.reply.json(jsonrpc.answer(request.request_id, result))

    async def _get(self, request: McpRequest, caller: Caller) -> None:
        """The stream of a session on which the server speaks unasked."""
        if b"text/event-stream" not in request.headers.get(b"accept", b""):
            raise RpcError(INVALID_REQUEST, "a GET must accept text/event-stream", status=406)
        if SESSION_HEADER not in request.headers:  # the stateless era has no such stream
            await request.reply.json(b"", status=405, headers=((b"allow", b"POST"),))
            return
        session = await self._session(request, caller)
        await self.streams.serve(request.reply, request.receive, self.sessions.watch(session, caller.expires_at))

    async def _delete(self, request: McpRequest, caller: Caller) -> None:
        await self.sessions.end(await self._session(request, caller))
        await request.reply.json(b"", status=204)

    def _check_origin(self, request: McpRequest) -> None:
        """A browser's page may call only from an origin we know (MCP transports, security)."""
        origin = request.headers.get(b"origin")
        if origin is None:
            return
        if (value := origin.decode("latin-1")) not in self.origins:
            raise PermissionDenied("the origin of the page is not allowed here", origin=value[:200])

    async def _refuse(self, request: McpRequest, error: RpcError, cause: InterlockError | None = None) -> None:
        if not request.reply.record_id:  # with an intent, its outcome says how it ended
            self.tool_calls.recorder.refusal(
                cause.code if cause else error.error.message,
                status=error.status,
                method=request.method or request.scope["method"],
                target=request.target,
                caller=request.caller,
                peer=request.peer,
            )
        body = jsonrpc.failure(request.request_id, error.error)
        if request.reply.started and not request.reply.streaming:
            return
        await request.reply.answer(body, status=error.status, headers=self._challenge(request, cause))

    async def _end(self, request: McpRequest) -> None:
        """The token was revoked meanwhile: say so where that is still possible, and close."""
        if request.reply.streaming and request.scope["method"] == "GET":
            await request.reply.end_stream()
        else:
            cause = TokenRevoked("the token has been revoked")
            await self._refuse(request, _as_rpc(cause), cause)

    def _challenge(self, request: McpRequest, cause: InterlockError | None) -> tuple[tuple[bytes, bytes], ...]:
        """``WWW-Authenticate`` (RFC 6750, section 3; RFC 9728, section 5.1) where a credential is what lacks."""
        if not isinstance(cause, Unauthenticated | ScopeMissing):
            return ()
        base = self.public_url or f"http://{request.headers.get(b'host', b'').decode('latin-1')}"
        metadata = f'resource_metadata="{base}/.well-known/oauth-protected-resource{request.scope["path"]}"'
        if isinstance(cause, Unauthenticated):
            error = "" if cause.code == "token_missing" else ', error="invalid_token"'
        else:
            scope = f', scope="{cause.fields["scope"]}"' if "scope" in cause.fields else ""
            error = f', error="insufficient_scope"{scope}'
        return ((b"www-authenticate", f"Bearer {metadata}{error}".encode()),)


def _as_rpc(error: InterlockError) -> RpcError:
    """An error of ours in the words of JSON-RPC, with the HTTP status it has on REST too."""
    code = (
        INVALID_REQUEST
        if isinstance(error, NotFound | TooLarge | Unauthenticated | PermissionDenied)
        else INTERNAL_ERROR
    )
    return RpcError(code, error.detail, status=error.status, data={"code": error.code, **error.fields})
