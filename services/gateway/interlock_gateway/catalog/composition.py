"""What may be composed into one virtual server: references that lead somewhere, names that are nobody else's."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from interlock_common.messages.catalog import Definition, Upstream, VirtualServer
from interlock_common.messages.common import Actor
from interlock_gateway.catalog.errors import InvalidComposition, NamesCollide, UnknownReference
from interlock_gateway.catalog.store import Store
from interlock_gateway.catalog.visibility import may_see

MAX_REFERENCES = 2_000
MAX_REFERENCE = 2_200
MAX_INSTRUCTIONS = 16_384
MAX_RESOURCE = 2_048

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_URL = re.compile(r"[!-~]+")
_KINDS = ("tools", "resources", "templates", "prompts")
_NAMED_KINDS = ("tools", "prompts")
"""What has a name of its own; resources and templates are asked for by their URI."""


def check_form(server: VirtualServer) -> None:
    """What can be said of a composition without looking at what it refers to; raises InvalidComposition."""
    references = [*server.upstreams, *(each for kind in _KINDS for each in _chosen(server, kind))]
    if len(references) > MAX_REFERENCES or len(server.aliases) > MAX_REFERENCES:
        raise InvalidComposition(f"a virtual server has at most {MAX_REFERENCES} references", field="tools")
    if any(len(each) > MAX_REFERENCE for each in references):
        raise InvalidComposition(f"a reference is at most {MAX_REFERENCE} characters", field="tools")
    if len(server.instructions) > MAX_INSTRUCTIONS:
        raise InvalidComposition(f"instructions are at most {MAX_INSTRUCTIONS} characters", field="instructions")
    _check_resource(server.resource)
    _check_aliases(server)


async def check_references(store: Store, actor: Actor, server: VirtualServer) -> None:
    """Each reference leads to what the actor sees, and no two things have one public name.

    Raises UnknownReference, InvalidComposition (an alias of nothing) and NamesCollide.
    """
    upstreams = await _upstreams(store, actor, server)
    for kind in _KINDS:
        for reference in _chosen(server, kind):
            upstream_id, _, name = reference.partition("/")
            if name not in {each.name for each in _offered(upstreams[upstream_id], kind)}:
                raise UnknownReference(f"the upstream has no such {kind[:-1]}", reference=reference)
    aliasable = {reference for kind in _NAMED_KINDS for reference, _ in _members(server, upstreams, kind)}
    if unknown := sorted(server.aliases.keys() - aliasable):
        raise InvalidComposition("an alias names a tool or a prompt of the server", reference=unknown[0])
    if server.prefix in {"none", "custom"}:
        for kind in _KINDS:
            _check_names(server, upstreams, kind)


async def _upstreams(store: Store, actor: Actor, server: VirtualServer) -> dict[str, Upstream]:
    """Every upstream that the server refers to, by id; raises UnknownReference for one the actor does not see."""
    wanted = dict.fromkeys(server.upstreams)
    for kind in _KINDS:
        for reference in _chosen(server, kind):
            upstream_id, slash, _ = reference.partition("/")
            if not slash:
                raise UnknownReference(
                    f"a {kind[:-1]} is referred to as <upstream id>/<its original name>", reference=reference
                )
            wanted[upstream_id] = None
    found: dict[str, Upstream] = {}
    for upstream_id in wanted:
        upstream = await store.upstream(upstream_id)
        if upstream is None or not may_see(actor, upstream):
            raise UnknownReference("no such upstream", upstream=upstream_id)
        found[upstream_id] = upstream
    return found


def _check_names(server: VirtualServer, upstreams: Mapping[str, Upstream], kind: str) -> None:
    holders: dict[str, str] = {}
    for reference, name in _members(server, upstreams, kind):
        public = server.aliases.get(reference, name) if kind in _NAMED_KINDS else name
        holder = holders.setdefault(public, reference)
        if holder != reference:
            raise NamesCollide(
                f"two {kind} would both be named {public}: {holder} and {reference}; choose a prefix, or an alias",
                name=public, references=[holder, reference],
            )  # fmt: skip


def _members(server: VirtualServer, upstreams: Mapping[str, Upstream], kind: str) -> Iterator[tuple[str, str]]:
    """Reference and original name of each thing of a kind that the server has."""
    whole, chosen = set(server.upstreams), set(_chosen(server, kind))
    for upstream in upstreams.values():
        for each in _offered(upstream, kind):
            reference = f"{upstream.id}/{each.name}"
            if upstream.id in whole or reference in chosen:
                yield reference, each.name


def _chosen(server: VirtualServer, kind: str) -> tuple[str, ...]:
    return getattr(server, kind)


def _offered(upstream: Upstream, kind: str) -> tuple[Definition, ...]:
    return getattr(upstream, kind)


def _check_aliases(server: VirtualServer) -> None:
    if server.aliases and server.prefix != "custom":
        raise InvalidComposition("aliases go with the prefix custom", field="aliases")
    holders: dict[str, str] = {}
    for reference, alias in server.aliases.items():
        if _NAME.fullmatch(alias) is None:
            raise InvalidComposition("an alias is 1 to 128 of A-Z a-z 0-9 _ . -", reference=reference)
        if alias in holders:
            raise NamesCollide(
                f"two things have the alias {alias}: {holders[alias]} and {reference}",
                name=alias, references=[holders[alias], reference],
            )  # fmt: skip
        holders[alias] = reference


def _check_resource(resource: str) -> None:
    """A resource identifier is an absolute https URL without a fragment (RFC 8707, section 2)."""
    if not resource:
        return
    try:
        parsed = urlsplit(resource)
        fit = parsed.scheme == "https" and bool(parsed.hostname) and parsed.username is None and "#" not in resource
        fit = fit and parsed.port != 0
    except ValueError:
        fit = False
    if not fit or len(resource) > MAX_RESOURCE or _URL.fullmatch(resource) is None:
        raise InvalidComposition("a resource identifier is an absolute https URL without a fragment", field="resource")
