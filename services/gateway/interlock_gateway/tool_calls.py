"""The hot path: one tool call, from a caller and an envelope to the upstream's answer.

Nothing here reads a database, and nothing but the audit intent and a bound plugin chain asks the bus. Reading a
resource, getting a prompt and completing an argument are calls too: ``operations.py`` has their words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from interlock_common.errors import InterlockError
from interlock_common.messages.gateway import Session
from interlock_common.messages.plugins import HookContext
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.changes.hub import Changes
from interlock_gateway.client import Client
from interlock_gateway.consents.consenting import Consenting
from interlock_gateway.errors import ScopeMissing, UpstreamMisbehaved
from interlock_gateway.held.request_state import STATE
from interlock_gateway.hooks import Hooks
from interlock_gateway.jsonrpc import RpcError
from interlock_gateway.limits import Concurrency
from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.offers import Route
from interlock_gateway.operations import Operation, Params, payload_of
from interlock_gateway.recording import CallRecord, Outcome, Recorder
from interlock_gateway.results import Result, finish
from interlock_gateway.revisions import META_CAPABILITIES
from interlock_gateway.routing import Catalog, may_see, offer_for
from interlock_gateway.tasks import Tasks
from interlock_gateway.upstream_meta import meta_for
from interlock_gateway.upstreams.dispatch import Upstreams
from interlock_gateway.upstreams.oauth.grants import ConsentNeeded
from interlock_gateway.upstreams.sessions import SHARED
from interlock_gateway.upstreams.transport import Exchange, UpstreamRequest
from interlock_gateway.uris import rewrite_result

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed request for an upstream: ``params`` and ``meta`` are raw members.

    ``session`` is the session's key and record in the handshake era, None in the stateless one.
    """

    operation: Operation
    caller: Caller
    server_id: str | None
    request_id: jsonrpc.Id
    target: str
    params: Params
    meta: Params
    headers: Mapping[bytes, bytes]
    peer: str
    session: tuple[str, Session] | None = None

    @property
    def modern(self) -> bool:
        return self.session is None

    @property
    def capabilities(self) -> bytes:
        """What the client can do, raw: as it says with each request, or said when its session began."""
        if self.session is not None:
            return bytes(self.session[1].capabilities)
        return bytes(self.meta.get(META_CAPABILITIES, b"{}"))


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """What a call needs, all of it in memory but the audit stream, the plugins and the upstream."""

    catalog: Catalog
    recorder: Recorder
    hooks: Hooks
    upstreams: Upstreams
    live: LiveWork
    concurrency: Concurrency
    changes: Changes
    tasks: Tasks
    consenting: Consenting

    async def call_tool(self, call: Call, client: Client) -> None:
        """Route, authorize, record, inspect, call, inspect, answer, record.

        Authentication and parsing came before (``endpoints/mcp.py``). Raises RpcError or InterlockError for
        what the caller is to be told, Ended when a revocation ended the call.
        """
        call, declined = self._resumed(call)
        route = self._authorized_route(call)
        original = call.operation.original(route, call.target)
        payload = payload_of(call.operation, call.params)
        with self.concurrency.taken(call.caller.principal):
            record = await self.recorder.intent(
                call.caller, route, original, payload,
                method=call.operation.method, server_id=call.server_id, peer=call.peer,
            )  # fmt: skip
            client.record_id = record.intent
            outcome: Outcome = "cancelled"
            reason = "the client left"
            try:
                with self.live.on_behalf_of(call.caller):
                    request = await self._request(call, route, original, payload, record)
                    try:
                        result = await self._call_upstream(call, route, request, record, client)
                    except ConsentNeeded as needed:
                        result = self._asked_for_consent(call, needed, declined=declined)
                    outcome, reason = result.outcome, ""
                    await client.answer(result.message, status=result.status if call.modern else 200)
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
                self.recorder.outcome(record, outcome, size=client.size, reason=reason)

    def _resumed(self, call: Call) -> tuple[Call, bool]:
        """A retry as the request was before its user was sent away to consent, and whether the user declined."""
        if not call.modern or STATE not in call.params:
            return call, False
        params, declined = self.consenting.resumed(call.params, call.caller.principal)
        return replace(call, params=params), declined

    def _asked_for_consent(self, call: Call, needed: ConsentNeeded, *, declined: bool) -> Result:
        return self.consenting.asked(
            needed, call.request_id, call.params, call.caller.principal, capabilities=call.capabilities,
            version=call.session[1].protocol_version if call.session else "", declined=declined,
        )  # fmt: skip

    def _authorized_route(self, call: Call) -> Route:
        """The route of a public name, if the caller may take it; what one may not see is unknown, word for word."""
        return authorized_route(
            self.catalog, call.caller, call.operation, call.server_id, call.target, modern=call.modern
        )

    async def _request(
        self, call: Call, route: Route, original: str, payload: bytes, record: CallRecord
    ) -> UpstreamRequest:
        """The request as it leaves: under its original name, as the pre hooks left it, with the era's own members."""
        operation = call.operation
        if call.modern:
            route.param_headers.check(call.headers, payload)
        params = operation.rename(call.params, original)
        if operation.pre_hook and (binding := self.hooks.bound(operation.pre_hook, original)):
            before = payload_of(operation, params)
            payload = await self.hooks.run(binding, _hook_context(call, route, original), before, record)
            params[operation.payload] = msgspec.Raw(payload)
        params["_meta"] = msgspec.Raw(_encode(meta_for(route.upstream, call.meta, call.session)))
        return UpstreamRequest(
            upstream=route.upstream,
            method=operation.method,
            name=operation.target(params) if operation.in_header else "",  # a hook may have named another resource
            params=_encode(params),
            principal=call.caller.principal,
            session_key=f"{SHARED}{call.session[0]}" if call.session else "",
            capabilities=call.capabilities,
            param_headers=route.param_headers.build(payload),
            counts=partial(self.live.counts, call.caller),
        )

    async def _call_upstream(
        self, call: Call, route: Route, request: UpstreamRequest, record: CallRecord, client: Client
    ) -> Result:
        """Pass on what the upstream says on the way; answer what it said last."""
        async with self.upstreams.open(request, modern=call.modern) as exchange:
            async for message in exchange:
                envelope = _parse(message, route)
                if envelope.method is None:
                    return await self._result(call, route, envelope, record)
                if isinstance(envelope.id, msgspec.UnsetType):
                    if not _unwanted(call, route, envelope) and not self.changes.heard(route.upstream.id, message):
                        await client.notify(self.tasks.rewritten_notification(message, route, call.caller))
                else:
                    await _pass_request(envelope, client, exchange)
        raise UpstreamMisbehaved(f"upstream {route.upstream.name} ended its answer without a result")

    async def _result(self, call: Call, route: Route, envelope: jsonrpc.Envelope, record: CallRecord) -> Result:
        if isinstance(envelope.error, msgspec.Raw) and bytes(envelope.error) != b"null":
            return Result.failed(call.request_id, envelope.error)
        if not isinstance(envelope.result, msgspec.Raw):
            raise UpstreamMisbehaved(f"upstream {route.upstream.name} answered without a result")
        try:
            result = await self._inspected(call, route, bytes(envelope.result), record)
            result = self.tasks.rewritten(result, route, call.caller)
            return finish(result, call.request_id, record.intent, modern=call.modern)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            misfit = f"upstream {route.upstream.name} answered with a result that does not fit the protocol"
            raise UpstreamMisbehaved(misfit) from None

    async def _inspected(self, call: Call, route: Route, result: bytes, record: CallRecord) -> bytes:
        """A result as the post hooks leave it, with its URIs as they are called here."""
        if member := call.operation.result_member:
            members = _members.decode(result)
            if bytes(members.get(member, b"")).startswith(b"{"):
                members[member] = msgspec.Raw(await self._seen(call, route, bytes(members[member]), record))
                result = _encode(members)
            return result
        return await self._seen(call, route, result, record)

    async def _seen(self, call: Call, route: Route, result: bytes, record: CallRecord) -> bytes:
        hook = call.operation.post_hook
        tool = route.tool or call.operation.original(route, call.target)
        if hook and (binding := self.hooks.bound(hook, tool)):
            result = await self.hooks.run(binding, _hook_context(call, route, tool), result, record)
        return result if route.rename is None else rewrite_result(result, route.rename)


def _unwanted(call: Call, route: Route, envelope: jsonrpc.Envelope) -> bool:
    """Whether it is progress that nobody asked for; a task has the token of the request that began it."""
    return envelope.method == "notifications/progress" and "progressToken" not in call.meta and not route.tool


async def _pass_request(envelope: jsonrpc.Envelope, client: Client, exchange: Exchange) -> None:
    """Put a request of the upstream to the client, under an id of ours, and its response back under the upstream's."""
    upstream_id = None if isinstance(envelope.id, msgspec.UnsetType) else envelope.id
    if envelope.method == "ping":
        await exchange.answer(jsonrpc.answer(upstream_id, b"{}"))
        return
    try:
        response = jsonrpc.parse(await client.ask(envelope.method or "", bytes(envelope.params)))
    except RpcError as error:  # the client cannot do that, or does not answer: the upstream decides what to make of it
        await exchange.answer(jsonrpc.failure(upstream_id, error.error))
        return
    if isinstance(response.error, msgspec.Raw):
        await exchange.answer(jsonrpc.failure(upstream_id, response.error))
    else:
        result = response.result if isinstance(response.result, msgspec.Raw) else msgspec.Raw(b"{}")
        await exchange.answer(jsonrpc.answer(upstream_id, bytes(result)))


def authorized_route(
    catalog: Catalog, caller: Caller, operation: Operation, server_id: str | None, target: str, *, modern: bool
) -> Route:
    """The decision about a call, for the call itself and for whoever asks why it would end so."""
    route = operation.find(offer_for(catalog, caller, server_id), target, caller)
    if route is None or not may_see(caller, route):
        raise operation.unknown(target, modern)
    if not route.usable:
        data = {"code": "definition_quarantined", "digest": route.definition.digest}
        message = f"{target} has changed at its upstream, and waits to be accepted"
        raise RpcError(jsonrpc.DENIED, message, data=data)
    if not caller.may(operation.permission, route.upstream.team):
        raise ScopeMissing(
            f"{operation.method} needs the permission {operation.permission}", scope=operation.permission
        )
    return route


def _hook_context(call: Call, route: Route, original: str) -> HookContext:
    return HookContext(
        principal=call.caller.principal,
        tool=original,
        upstream=route.upstream.name,
        server_id=call.server_id,
        teams=tuple(call.caller.teams),
    )


def _parse(message: bytes, route: Route) -> jsonrpc.Envelope:
    try:
        return jsonrpc.parse(message)
    except RpcError as error:
        raise UpstreamMisbehaved(f"upstream {route.upstream.name} sent what is not JSON-RPC: {error}") from None
