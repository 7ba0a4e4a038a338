"""The hot path: one tool call, from a caller and an envelope to the upstream's answer.

Nothing here reads a database, and nothing but the audit intent and a bound plugin chain asks the bus.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from interlock_common import telemetry
from interlock_common.errors import InterlockError, NotFound
from interlock_common.messages.plugins import HookContext
from interlock_gateway import jsonrpc
from interlock_gateway.authentication import Caller
from interlock_gateway.errors import ScopeMissing, UpstreamMisbehaved
from interlock_gateway.hooks import Hooks
from interlock_gateway.jsonrpc import INVALID_PARAMS, RpcError
from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.recording import CallRecord, Outcome, Recorder
from interlock_gateway.reply import Reply
from interlock_gateway.results import Result, finish
from interlock_gateway.revisions import META_CAPABILITIES, META_MODERN, META_VERSION, MODERN
from interlock_gateway.routing import Catalog, Offer, Route, visible
from interlock_gateway.upstreams.client import UpstreamClient, UpstreamRequest

_encode = msgspec.json.encode
_EXECUTE = "tools.execute"
_NO_ARGUMENTS = msgspec.Raw(b"{}")
_VERSION_RAW = msgspec.Raw(_encode(MODERN))


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A parsed ``tools/call``: ``params`` and ``meta`` are raw members, ``session`` is empty in the stateless era."""

    caller: Caller
    server_id: str | None
    request_id: jsonrpc.Id
    name: str
    params: dict[str, msgspec.Raw]
    meta: Mapping[str, msgspec.Raw]
    modern: bool
    session: str
    peer: str
    param_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """What a call needs, all of it in memory but the audit stream, the plugins and the upstream."""

    catalog: Catalog
    recorder: Recorder
    hooks: Hooks
    upstreams: UpstreamClient
    live: LiveWork

    async def call_tool(self, call: ToolCall, reply: Reply) -> None:
        """Route, authorize, record, inspect, call, inspect, answer, record.

        Authentication and parsing came before (``mcp_endpoint.py``). Raises RpcError or InterlockError for
        what the caller is to be told, Ended when a revocation ended the call.
        """
        route = self._authorized_route(call)
        arguments = call.params.get("arguments", _NO_ARGUMENTS)
        record = await self.recorder.intent(call.caller, route, arguments, call.server_id, call.peer)
        reply.record_id = record.intent
        outcome: Outcome = "cancelled"
        reason = "the client left"
        try:
            with self.live.on_behalf_of(call.caller.token_id):
                checked = await self._before(call, route, arguments, record)
                result = await self._call_upstream(call, route, checked, record, reply)
                outcome, reason = ("tool_error" if result.is_error else "ok"), ""
                await reply.answer(result.message)
        except Ended:
            outcome, reason = "revoked", "the token was revoked while the call ran"
            raise
        except RpcError as error:
            outcome, reason = ("denied" if error.error.code == jsonrpc.DENIED else "failed"), error.error.message
            raise
        except InterlockError as error:
            outcome, reason = "failed", error.detail
            raise
        except Exception as error:
            outcome, reason = "failed", f"unexpected failure: {type(error).__name__}"
            raise
        finally:
            self.recorder.outcome(record, outcome, size=reply.size, reason=reason)

    def _authorized_route(self, call: ToolCall) -> Route:
        """The route of a public name, if the caller may take it; a tool one may not call is an unknown tool."""
        caller = call.caller
        offer = offer_for(self.catalog, caller, call.server_id)
        route = offer.routes.get(call.name)
        if route is None or not may_see(caller, route):
            raise RpcError(INVALID_PARAMS, f"Unknown tool: {call.name}", data={"tool": call.name})
        if not caller.may(_EXECUTE):
            raise ScopeMissing(f"calling a tool needs the permission {_EXECUTE}", scope=_EXECUTE)
        return route

    async def _before(self, call: ToolCall, route: Route, arguments: msgspec.Raw, record: CallRecord) -> bytes:
        binding = self.hooks.bound("tool_pre_invoke", route.tool.name)
        if binding is None:
            return bytes(arguments)
        return await self.hooks.run(binding, _hook_context(call, route), bytes(arguments), record)

    async def _call_upstream(
        self, call: ToolCall, route: Route, arguments: bytes, record: CallRecord, reply: Reply
    ) -> Result:
        """Stream what the upstream says on the way to the client; answer what it said last."""
        binding = self.hooks.bound("tool_post_invoke", route.tool.name)
        async for message in self.upstreams.messages(_upstream_request(call, route, arguments)):
            envelope = _parse_answer(message, route)
            if envelope.method is not None:
                await reply.event(message)
                continue
            if isinstance(envelope.error, msgspec.Raw) and bytes(envelope.error) != b"null":
                return Result(jsonrpc.failure(call.request_id, envelope.error), is_error=True)
            if not isinstance(envelope.result, msgspec.Raw):
                break
            result = bytes(envelope.result)
            if binding is not None:
                result = await self.hooks.run(binding, _hook_context(call, route), result, record)
            return finish(result, call.request_id, record.intent, modern=call.modern)
        raise UpstreamMisbehaved(f"upstream {route.upstream.name} ended its answer without a result")


def offer_for(catalog: Catalog, caller: Caller, server_id: str | None) -> Offer:
    """What an endpoint offers to the caller; an endpoint one may not see does not exist."""
    if caller.scopes.server_id is not None and caller.scopes.server_id != server_id:
        raise ScopeMissing("the token is limited to another server")
    offer = catalog.offer(server_id)
    server = offer.server
    if server is not None and not visible(caller, server.visibility, server.team, server.owner):
        raise NotFound("no such server", server=server_id)  # word for word as if it did not exist
    return offer


def may_see(caller: Caller, route: Route) -> bool:
    upstream = route.upstream
    return visible(caller, upstream.visibility, upstream.team, upstream.owner)


def _hook_context(call: ToolCall, route: Route) -> HookContext:
    return HookContext(
        principal=call.caller.principal,
        tool=route.tool.name,
        upstream=route.upstream.name,
        server_id=call.server_id,
        teams=tuple(call.caller.teams),
    )


def _upstream_request(call: ToolCall, route: Route, arguments: bytes) -> UpstreamRequest:
    """The call under its original name, with the trace in ``_meta`` (SEP-414) and the era's own members."""
    meta = dict(call.meta)
    if route.upstream.era == "modern":
        meta[META_VERSION] = _VERSION_RAW
        meta.setdefault(META_CAPABILITIES, _NO_ARGUMENTS)
    else:
        for key in META_MODERN:
            meta.pop(key, None)
    for key, value in telemetry.inject({}).items():
        meta[key] = msgspec.Raw(_encode(value))
    params = call.params | {
        "name": msgspec.Raw(_encode(route.tool.name)),
        "arguments": msgspec.Raw(arguments),
        "_meta": msgspec.Raw(_encode(meta)),
    }
    return UpstreamRequest(
        upstream=route.upstream,
        method="tools/call",
        name=route.tool.name,
        params=_encode(params),
        session_key=call.session or call.caller.principal,
        # They repeat arguments: what a plugin took out of those must not leave in a header.
        param_headers=call.param_headers if arguments == bytes(call.params.get("arguments", b"{}")) else (),
    )


def _parse_answer(message: bytes, route: Route) -> jsonrpc.Envelope:
    try:
        return jsonrpc.parse(message)
    except RpcError as error:
        raise UpstreamMisbehaved(f"upstream {route.upstream.name} sent what is not JSON-RPC: {error}") from None
