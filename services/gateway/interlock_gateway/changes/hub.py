"""What changes, and who wants to know: lists that changed, resources that were updated.

An *interest* is one open stream: the GET stream of a session, or a ``subscriptions/listen``. It hears of changes in
what its endpoint offers to its caller, and of nothing else.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from interlock_common.messages.catalog import CatalogItem, Upstream
from interlock_gateway import jsonrpc
from interlock_gateway.caller import Caller
from interlock_gateway.changes.listeners import Listeners, way_to
from interlock_gateway.offers import Route
from interlock_gateway.routing import Catalog, may_see, may_see_upstream, referred

_encode = msgspec.json.encode

TOOLS, RESOURCES, PROMPTS = (f"notifications/{kind}/list_changed" for kind in ("tools", "resources", "prompts"))
LIST_CHANGES = frozenset({TOOLS, RESOURCES, PROMPTS})
UPDATED = "notifications/resources/updated"

type Deliver = Callable[[str, bytes], None]
"""Takes the method of a notification and its params; must not wait."""


class _Updated(msgspec.Struct, frozen=True):
    uri: str


class _Message(msgspec.Struct, frozen=True):
    method: str = ""
    params: _Updated | None = None


_message = msgspec.json.Decoder(_Message)


@dataclass(eq=False, slots=True)
class Interest:
    """What one stream wants to hear of; ``session_key`` says whose upstream sessions updates come over."""

    caller: Caller
    server_id: str | None
    session_key: str
    methods: frozenset[str]
    deliver: Deliver
    wanted: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """The public URI of each resource that is subscribed to, by its upstream's id and its URI there."""

    @property
    def principal(self) -> str:
        return self.caller.principal


class Changes:
    """Tells interests what they want to hear of.

    ``listeners`` hear it from the upstreams; ``say`` tells the catalog and other edges of a list that changed.
    """

    def __init__(self, catalog: Catalog, listeners: Listeners, say: Callable[[str, bytes], None]) -> None:
        self._catalog = catalog
        self._listeners = listeners
        self._say = say
        self._interests: set[Interest] = set()
        listeners.tell(self.heard, self.updated)

    @contextmanager
    def interested(self, interest: Interest) -> Generator[None]:
        """Deliver to ``interest`` until the block ends."""
        self._interests.add(interest)
        try:
            yield
        finally:
            self._interests.discard(interest)
            self._listeners.want(interest, interest, {})

    def want(self, interest: Interest, uris: Iterable[str]) -> frozenset[str]:
        """From now on the updates of exactly these public URIs; answers which of them there are."""
        routes = {uri: route for uri in uris if (route := self.subscribable(interest, uri)) is not None}
        interest.wanted = {(route.upstream.id, route.original_uri(uri)): uri for uri, route in routes.items()}
        needed: dict[str, tuple[Upstream, list[str]]] = {}
        for uri, route in routes.items():
            needed.setdefault(route.upstream.id, (route.upstream, []))[1].append(route.original_uri(uri))
        self._listeners.want(interest, interest, needed)
        return frozenset(routes)

    def subscribable(self, interest: Interest, uri: str) -> Route | None:
        """Where a public URI leads whose updates its upstream tells of, if the interest's caller may see it."""
        route = self._catalog.offer(interest.server_id).resource(uri)
        if route is None or not may_see(interest.caller, route) or not tells_updates(route.upstream):
            return None
        return route

    def take(self, key: str, item: CatalogItem | None) -> None:
        """Take one change of the catalog's bucket into the offers, and tell of it."""
        kind, _, identifier = key.partition(".")
        before = self._catalog.upstreams.get(identifier) if kind == "upstream" else None
        self._catalog.change(key, item)
        if kind == "upstream":
            after = item if isinstance(item, Upstream) else None
            if before is not None and (after is None or _reach(before) != _reach(after)):
                self._want_anew(identifier)
            self._upstream_changed(before, after)
        else:
            for interest in self._interests:
                if interest.server_id == identifier:
                    _tell(interest, LIST_CHANGES)

    def heard(self, upstream_id: str, message: bytes) -> bool:
        """Take a message that this edge had of an upstream itself; answers whether it was of this kind."""
        method = _read(message).method
        if method == UPDATED:
            self.notified(upstream_id, message)
        elif method in LIST_CHANGES:  # what there is now, the catalog finds out for everybody
            self._say(upstream_id, jsonrpc.notification(method, b"{}"))
        return method == UPDATED or method in LIST_CHANGES

    def notified(self, upstream_id: str, message: bytes) -> None:
        """Take a notification that somebody had of an upstream; only updates are the edge's own business."""
        said = _read(message)
        if said.method == UPDATED and said.params is not None:
            self.updated(upstream_id, said.params.uri)

    def updated(self, upstream_id: str, uri: str) -> None:
        upstream = self._catalog.upstreams.get(upstream_id)
        for interest in self._interests if upstream is not None else ():
            public = interest.wanted.get((upstream_id, uri))
            if public is not None and upstream is not None and may_see_upstream(interest.caller, upstream):
                interest.deliver(UPDATED, _encode({"uri": public}))

    def _want_anew(self, upstream_id: str) -> None:
        """An upstream is elsewhere, or for others, or gone: nobody listens on where it was."""
        for interest in self._interests:
            if any(wanted_of == upstream_id for wanted_of, _ in interest.wanted):
                self.want(interest, tuple(interest.wanted.values()))

    def _upstream_changed(self, before: Upstream | None, after: Upstream | None) -> None:
        methods = _differences(before, after)
        present = after or before
        if not methods or present is None:
            return
        for interest in self._interests:
            if self._concerns(interest, present) and any(
                may_see_upstream(interest.caller, each) for each in (before, after) if each is not None
            ):
                _tell(interest, methods)

    def _concerns(self, interest: Interest, upstream: Upstream) -> bool:
        if interest.server_id is None:
            return True
        server = self._catalog.servers.get(interest.server_id)
        return server is not None and upstream.id in referred(server)


def _read(message: bytes) -> _Message:
    try:
        return _message.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return _Message()


def tells_updates(upstream: Upstream) -> bool:
    """Whether an upstream declared that its resources can be subscribed to."""
    try:
        resources = jsonrpc.members(upstream.capabilities, "capabilities").get("resources")
        return resources is not None and bytes(jsonrpc.members(resources).get("subscribe", b"")) == b"true"
    except jsonrpc.RpcError:
        return False


def _tell(interest: Interest, methods: frozenset[str]) -> None:
    for method in sorted(interest.methods & methods):
        interest.deliver(method, b"{}")


def _differences(before: Upstream | None, after: Upstream | None) -> frozenset[str]:
    """Which lists differ; an upstream that comes, goes or changes hands changes all of its own."""
    if before is None or after is None or _standing(before) != _standing(after):
        present = [each for each in (before, after) if each is not None]
        return frozenset(
            method for method, lists in _LISTS.items() if any(getattr(each, name) for each in present for name in lists)
        )
    return frozenset(
        method
        for method, lists in _LISTS.items()
        if any(getattr(before, name) != getattr(after, name) for name in lists)
    )


def _reach(upstream: Upstream) -> tuple[object, ...]:
    """How an upstream is reached, and by whom."""
    return (*way_to(upstream), upstream.visibility, upstream.team, upstream.owner)


def _standing(upstream: Upstream) -> tuple[object, ...]:
    """What every definition of an upstream shows of it."""
    return (upstream.slug, upstream.reachable, upstream.problem, upstream.visibility, upstream.team, upstream.owner)


_LISTS = {TOOLS: ("tools",), RESOURCES: ("resources", "templates"), PROMPTS: ("prompts",)}
