"""What one MCP endpoint offers: public names and URIs, and where each of them leads."""

import hashlib
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain

import msgspec

from interlock_common.messages.catalog import Definition, DefinitionKind, Upstream, VirtualServer
from interlock_gateway.claims_to_names import Claim, Claims
from interlock_gateway.param_headers import ParamHeaders
from interlock_gateway.uris import Rename, Template, public_uri, scheme_of

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

KINDS: tuple[DefinitionKind, ...] = ("tool", "resource", "template", "prompt")
_BY_URI = frozenset({"resource", "template"})
_NAME_FIELD: Mapping[DefinitionKind, str] = {
    "tool": "name", "resource": "uri", "template": "uriTemplate", "prompt": "name",
}  # fmt: skip
PROBLEM_META = "dev.interlock/unreachable"
"""In the ``_meta`` of a definition whose upstream is away: what is wrong with it."""


class Route:
    """One public name: the upstream behind it, and what it is there."""

    __slots__ = ("__dict__", "claim", "definition", "kind", "prefixed", "public_name", "rename", "tool", "upstream")

    def __init__(
        self, kind: DefinitionKind, public_name: str, upstream: Upstream, definition: Definition, *, prefixed: bool
    ) -> None:
        self.kind: DefinitionKind = kind
        self.public_name = public_name
        self.upstream = upstream
        self.definition = definition
        self.prefixed = prefixed
        self.rename: Rename | None = None
        """What URIs of the upstream are called here; None where they keep their names."""
        self.claim: Claim[Route] = Claim(self, (public_name,))
        self.tool = ""
        """The tool that began the task that this leads to."""

    def call(self, name: str) -> None:
        """Give it another public name."""
        self.public_name = name
        self.__dict__.pop("public", None)

    @property
    def usable(self) -> bool:
        return self.definition.standing != "quarantined"

    @cached_property
    def public(self) -> bytes:
        """The definition as its upstream wrote it, byte for byte, but for another name and a problem to tell of."""
        problem = "" if self.upstream.reachable else self.upstream.problem or "not reachable"
        if self.public_name == self.definition.name and not problem:
            return bytes(self.definition.definition)
        members = _members.decode(self.definition.definition)
        members[_NAME_FIELD[self.kind]] = msgspec.Raw(_encode(self.public_name))
        if problem:
            meta = _members.decode(members["_meta"]) if bytes(members.get("_meta", b"")).startswith(b"{") else {}
            members["_meta"] = msgspec.Raw(_encode(meta | {PROBLEM_META: msgspec.Raw(_encode(problem))}))
        return _encode(members)

    @cached_property
    def param_headers(self) -> ParamHeaders:
        """The headers that repeat arguments of this tool."""
        return ParamHeaders.of(self.definition.definition)

    @cached_property
    def template(self) -> Template:
        return Template.parse(self.definition.name)

    def original_uri(self, uri: str) -> str:
        """What a public URI that leads here is called at the upstream."""
        if self.kind == "resource":
            return self.definition.name
        return uri.partition("+")[2] if self.prefixed else uri


@dataclass(frozen=True, slots=True)
class Block:
    """What an endpoint offers of one upstream, in the upstream's order."""

    upstream: Upstream
    routes: Mapping[DefinitionKind, list[Route]]

    @property
    def has_resources(self) -> bool:
        return bool(self.routes["resource"] or self.routes["template"])


class Offer:
    """What one endpoint offers, before visibility; ``server`` is None for everything there is.

    Names that are always prefixed do not depend on other upstreams, so an upstream that changes costs work in
    proportion to what it has itself.
    """

    def __init__(self, server: VirtualServer | None, upstreams: Iterable[Upstream]) -> None:
        self.server = server
        self.always = server is None or server.prefix == "always"
        self.routes: dict[DefinitionKind, dict[str, Route]] = {kind: {} for kind in KINDS}
        self.blocks: dict[str, Block] = {}
        self._claims: dict[DefinitionKind, Claims[Route]] = {kind: Claims() for kind in KINDS}
        self._order: list[tuple[str, str]] = []
        present = sorted(upstreams, key=lambda upstream: upstream.slug)
        self._taken = Counter(
            (kind, self._alias(upstream, definition) or definition.name)
            for upstream in present
            for kind, definition in self._chosen(upstream)
        ) if not self.always else Counter[tuple[DefinitionKind, str]]()  # fmt: skip
        for upstream in present:
            self.put(upstream)

    def put(self, upstream: Upstream) -> None:
        """Take in an upstream as it is now."""
        routes: dict[DefinitionKind, list[Route]] = {kind: [] for kind in KINDS}
        for kind, definition in self._chosen(upstream):
            routes[kind].append(self._route(kind, upstream, definition))
        self._exchange(upstream.id, Block(upstream, routes))
        insort(self._order, (upstream.slug, upstream.id))

    def remove(self, upstream_id: str) -> None:
        if upstream_id in self.blocks:
            self._exchange(upstream_id, None)

    def _exchange(self, upstream_id: str, block: Block | None) -> None:
        """Put a block in the place of the one that was there; names are those of all that is there then."""
        before = self.blocks.pop(upstream_id, None)
        if before is not None:
            self._order = [place for place in self._order if place[1] != upstream_id]
        if block is not None:
            self.blocks[upstream_id] = block
        concerned = {upstream_id}
        for kind in KINDS:
            gone = before.routes[kind] if before else ()
            new = block.routes[kind] if block else ()
            moved = [claim.holder for claim in self._claims[kind].change(_claims(gone), _claims(new))]
            known = self.routes[kind]
            for route in (*gone, *moved):
                if known.get(route.public_name) is route:
                    del known[route.public_name]
            for route in moved:
                route.call(route.claim.name)
                known[route.public_name] = route
                concerned.add(route.upstream.id)
        for block_of in (self.blocks[each] for each in concerned if each in self.blocks):
            rename = self._rename(block_of.upstream, block_of.routes["resource"])
            for route in chain.from_iterable(block_of.routes.values()):
                route.rename = rename

    def upstreams(self, after: str = "") -> Iterator[tuple[str, Block]]:
        """Slug and block of each upstream in a stable order, from the slug ``after`` on, that one included."""
        start = bisect_left(self._order, (after, ""))
        for slug, upstream_id in self._order[start:]:
            yield slug, self.blocks[upstream_id]

    def about(self, upstream_id: str, name: str, tool: str) -> Route | None:
        """A way to something that an upstream keeps on behalf of a call of ``tool``; None for one not offered here."""
        block = self.blocks.get(upstream_id)
        if block is None:
            return None
        route = Route("tool", name, block.upstream, Definition(name, msgspec.Raw(b"{}"), ""), prefixed=False)
        route.tool = tool
        route.rename = self._rename(block.upstream, block.routes["resource"])
        return route

    def resource(self, uri: str) -> Route | None:
        """Where a public URI leads: to a resource, to a template that it fits, or to an upstream taken in whole."""
        exact = self.routes["resource"].get(uri)
        if exact is not None:
            return exact
        for slug, block in self._by_scheme(uri):
            for route in block.routes["template"]:
                if route.template.matches(route.original_uri(uri)):
                    return route
            if (whole := self._unlisted(slug, block, uri)) is not None:
                return whole
        return None

    def _by_scheme(self, uri: str) -> Iterator[tuple[str, Block]]:
        """The blocks that may have a URI: with prefixes, those of the one slug."""
        scheme, plus, _ = uri.partition("+")
        for slug, block in self.upstreams():
            if not self.always or (plus and scheme == scheme_of(slug)):
                yield slug, block

    def _unlisted(self, slug: str, block: Block, uri: str) -> Route | None:
        """A resource that nobody listed (a tool may have linked to it), of an upstream that is offered whole."""
        if not block.has_resources or not self._whole(block.upstream):
            return None
        alone = sum(other.has_resources for other in self.blocks.values()) == 1
        if not (self.always or alone):
            return None
        original = uri.removeprefix(f"{scheme_of(slug)}+") if self.always else uri
        definition = Definition(original, msgspec.Raw(b"{}"), "")
        route = Route("resource", uri, block.upstream, definition, prefixed=self.always)
        route.rename = self._rename(block.upstream, block.routes["resource"])
        return route

    def _whole(self, upstream: Upstream) -> bool:
        return self.server is None or upstream.id in self.server.upstreams

    def _chosen(self, upstream: Upstream) -> Iterator[tuple[DefinitionKind, Definition]]:
        everything: dict[DefinitionKind, tuple[Definition, ...]] = {
            "tool": upstream.tools, "resource": upstream.resources, "template": upstream.templates,
            "prompt": upstream.prompts,
        }  # fmt: skip
        whole = self._whole(upstream)
        for kind, definitions in everything.items():
            chosen = frozenset[str]() if whole else self._references[kind]
            for definition in definitions:
                if whole or f"{upstream.id}/{definition.name}" in chosen:
                    yield kind, definition

    @cached_property
    def _references(self) -> Mapping[DefinitionKind, frozenset[str]]:
        server = self.server
        if server is None:
            return {kind: frozenset() for kind in KINDS}
        return {
            "tool": frozenset(server.tools), "resource": frozenset(server.resources),
            "template": frozenset(server.templates), "prompt": frozenset(server.prompts),
        }  # fmt: skip

    def _route(self, kind: DefinitionKind, upstream: Upstream, definition: Definition) -> Route:
        alias = self._alias(upstream, definition)
        name = alias or definition.name
        prefixed = self.always or (alias is None and self._taken[kind, name] > 1)
        if prefixed:
            name = public_uri(upstream.slug, name) if kind in _BY_URI else f"{upstream.slug}-{name}"
        route = Route(kind, name, upstream, definition, prefixed=prefixed and kind in _BY_URI)
        own = hashlib.sha256(f"{upstream.id}/{definition.name}".encode()).hexdigest()[:32]
        names = (name, f"{name}-{upstream.id[:6]}", f"{name}-{own}")  # the last cannot be made to collide
        route.claim = Claim(route, names, chosen=alias is not None)
        return route

    def _rename(self, upstream: Upstream, resources: Iterable[Route]) -> Rename | None:
        if self.always:
            return partial(public_uri, upstream.slug)
        renamed = {
            route.definition.name: route.public_name
            for route in resources
            if route.public_name != route.definition.name
        }
        return (lambda uri: renamed.get(uri, uri)) if renamed else None

    def _alias(self, upstream: Upstream, definition: Definition) -> str | None:
        if self.server is None or self.server.prefix != "custom":
            return None
        return self.server.aliases.get(f"{upstream.id}/{definition.name}")


def _claims(routes: Iterable[Route]) -> Iterator[Claim[Route]]:
    return (route.claim for route in routes)
