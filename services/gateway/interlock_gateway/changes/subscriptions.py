"""Subscribing: ``subscriptions/listen`` in the stateless era, ``resources/subscribe`` in the handshake era."""

import asyncio
from collections.abc import Mapping

import msgspec

from interlock_common.clock import Clock
from interlock_common.errors import TooManyRequests
from interlock_common.messages.gateway import Session
from interlock_gateway import jsonrpc
from interlock_gateway.changes.hub import PROMPTS, RESOURCES, TOOLS, UPDATED, Changes, Interest
from interlock_gateway.changes.pending import Pending
from interlock_gateway.client import Client
from interlock_gateway.errors import ScopeMissing
from interlock_gateway.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from interlock_gateway.methods import Incoming, Method
from interlock_gateway.operations import READ_RESOURCE
from interlock_gateway.revisions import META_SUBSCRIPTION
from interlock_gateway.routing import Catalog, offer_for
from interlock_gateway.sessions.registry import Sessions
from interlock_gateway.upstreams.sessions import SHARED

_encode = msgspec.json.encode
MAX_URIS = 1_000
_MAX_URI = 2_048
_MAX_STREAMS = 1_000
_MAX_PER_PRINCIPAL = 100
_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_NEEDS = READ_RESOURCE.permission


class Filter(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a client opts in to; unknown members belong to extensions that nobody here honours."""

    tools_list_changed: bool | None = None
    prompts_list_changed: bool | None = None
    resources_list_changed: bool | None = None
    resource_subscriptions: tuple[str, ...] | None = None

    @property
    def methods(self) -> frozenset[str]:
        chosen = {
            TOOLS: self.tools_list_changed, PROMPTS: self.prompts_list_changed, RESOURCES: self.resources_list_changed,
            UPDATED: self.resource_subscriptions is not None,
        }  # fmt: skip
        return frozenset(method for method, wanted in chosen.items() if wanted)


_filter = msgspec.json.Decoder(Filter)


class Subscriptions:
    """The methods that subscribe; ``changes`` knows what there is to hear of."""

    def __init__(self, catalog: Catalog, changes: Changes, sessions: Sessions, clock: Clock) -> None:
        self._catalog = catalog
        self._changes = changes
        self._sessions = sessions
        self._clock = clock
        self._open: dict[asyncio.Event, str] = {}

    def methods(self) -> Mapping[str, Method]:
        """What this brings, by name."""
        return {
            "subscriptions/listen": self.listen,
            "resources/subscribe": self.subscribe,
            "resources/unsubscribe": self.unsubscribe,
        }

    def close(self) -> None:
        """End every open stream with its response."""
        for closing in self._open:
            closing.set()

    async def listen(self, request: Incoming, client: Client) -> None:
        """Acknowledge, then tell what changes until the client leaves, its token expires, or the edge ends."""
        if not request.modern:
            raise RpcError(METHOD_NOT_FOUND, "subscriptions/listen is a method of the stateless era", status=404)
        self._check_room(request.caller.principal)
        asked = _asked(request)
        pending = Pending()
        interest = _interest(request, asked.methods, pending)
        closing = asyncio.Event()
        self._open[closing] = request.caller.principal
        try:
            with self._changes.interested(interest):
                honoured = self._honoured(interest, asked)
                await client.notify(_stamped(request, _ACKNOWLEDGED, _encode({"notifications": honoured})))
                await self._pump(request, client, pending, closing)
        finally:
            del self._open[closing]
        await client.answer(jsonrpc.answer(request.request_id, _ended(request)))

    def _check_room(self, principal: str) -> None:
        if len(self._open) >= _MAX_STREAMS:
            raise TooManyRequests(f"this edge has {_MAX_STREAMS} subscriptions open already", retry_after=5)
        if sum(each == principal for each in self._open.values()) >= _MAX_PER_PRINCIPAL:
            raise TooManyRequests(f"a principal has at most {_MAX_PER_PRINCIPAL} subscriptions open", retry_after=5)

    async def subscribe(self, request: Incoming, client: Client) -> None:
        """Remember the URI for the session's stream; unknown to whoever may not see it."""
        key, record = _session(request)
        uri = jsonrpc.string(request.params.get("uri"), "params.uri")
        offer_for(self._catalog, request.caller, request.server_id)
        if len(uri) > _MAX_URI:  # every edge remembers it
            raise RpcError(INVALID_PARAMS, f"what is subscribed to has at most {_MAX_URI} characters", status=400)
        route = self._changes.subscribable(_interest(request, frozenset(), Pending()), uri)
        if route is None:
            raise READ_RESOURCE.unknown(uri, False)
        if not request.caller.may(_NEEDS, route.upstream.team):
            raise ScopeMissing(f"subscribing needs the permission {_NEEDS}", scope=_NEEDS)
        if uri not in record.subscriptions and len(record.subscriptions) >= MAX_URIS:
            raise RpcError(INVALID_PARAMS, f"a session subscribes to at most {MAX_URIS} resources")
        await self._sessions.update(key, lambda found: _with(found, {*found.subscriptions, uri}))
        await client.answer(jsonrpc.answer(request.request_id, b"{}"))

    async def unsubscribe(self, request: Incoming, client: Client) -> None:
        key, _ = _session(request)
        uri = jsonrpc.string(request.params.get("uri"), "params.uri")
        await self._sessions.update(key, lambda found: _with(found, {*found.subscriptions} - {uri}))
        await client.answer(jsonrpc.answer(request.request_id, b"{}"))

    def _honoured(self, interest: Interest, asked: Filter) -> Filter:
        """What of a filter is granted: lists always, resources that exist for the caller and can be subscribed to."""
        uris = asked.resource_subscriptions
        if uris is None:
            return asked
        routes = {uri: self._changes.subscribable(interest, uri) for uri in uris}
        readable = [uri for uri, route in routes.items() if route and interest.caller.may(_NEEDS, route.upstream.team)]
        granted = self._changes.want(interest, readable)
        kept = tuple(uri for uri in uris if uri in granted)
        return msgspec.structs.replace(asked, resource_subscriptions=kept)

    async def _pump(self, request: Incoming, client: Client, pending: Pending, closing: asyncio.Event) -> None:
        closed = asyncio.ensure_future(closing.wait())
        try:
            while not closed.done() and (left := request.caller.expires_at - self._clock.time()) > 0:
                taking = asyncio.ensure_future(pending.get())
                await asyncio.wait({taking, closed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    taking.cancel()
                    continue
                method, params = taking.result()
                await client.notify(_stamped(request, method, params))
        finally:
            closed.cancel()


def _asked(request: Incoming) -> Filter:
    try:
        asked = _filter.decode(request.params.get("notifications", b"null"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise RpcError(INVALID_PARAMS, f"params.notifications: {error}", status=400) from None
    if len(asked.resource_subscriptions or ()) > MAX_URIS:
        raise RpcError(INVALID_PARAMS, f"at most {MAX_URIS} resources can be subscribed to", status=400)
    return asked


def _interest(request: Incoming, methods: frozenset[str], pending: Pending) -> Interest:
    key = f"{SHARED}{request.session[0]}" if request.session else ""
    return Interest(request.caller, request.server_id, key, methods, pending.put)


def _session(request: Incoming) -> tuple[str, Session]:
    if request.session is None:
        raise RpcError(METHOD_NOT_FOUND, f"{request.method} is a method of the handshake era", status=404)
    return request.session


def _with(record: Session, uris: set[str]) -> Session:
    return msgspec.structs.replace(record, subscriptions=tuple(sorted(uris)))


def _stamped(request: Incoming, method: str, params: bytes) -> bytes:
    """A notification that says which subscription it belongs to."""
    members = jsonrpc.members(msgspec.Raw(params))
    members["_meta"] = msgspec.Raw(_encode({META_SUBSCRIPTION: request.request_id}))
    return jsonrpc.notification(method, _encode(members))


def _ended(request: Incoming) -> bytes:
    return _encode({"resultType": "complete", "_meta": {META_SUBSCRIPTION: request.request_id}})
