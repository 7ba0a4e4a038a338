"""What the names in a configuration document stand for, and whether a thing is already as the document wants it."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import (
    CreateServer,
    CreateUpstream,
    Credential,
    Definition,
    Upstream,
    VirtualServer,
)

_KINDS = ("tools", "resources", "templates", "prompts")


class Names:
    """The gateways that a document can refer to: those there are, those it made, those it would make."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._known: dict[str, Upstream | None] = {upstream.name: upstream for upstream in upstreams}

    def upstream(self, name: str) -> Upstream | None:
        return self._known.get(name)

    def add(self, upstream: Upstream) -> None:
        self._known[upstream.name] = upstream

    def plan(self, name: str) -> None:
        """A gateway that does not exist yet: nobody knows what it will offer."""
        self._known[name] = None

    def resolved(self, request: CreateServer, *, check: bool) -> CreateServer:
        """``request`` with ids in place of names; with ``check``, what is known not to be there is refused.

        Raises InvalidInput.
        """
        chosen: dict[str, Any] = {
            kind: tuple(self._reference(each, kind if check else None) for each in getattr(request, kind))
            for kind in _KINDS
        }
        return msgspec.structs.replace(
            request,
            **chosen,
            upstreams=tuple(self._id(name) for name in request.upstreams),
            aliases={self._reference(each, None): alias for each, alias in request.aliases.items()},
        )

    def _reference(self, reference: str, kind: str | None) -> str:
        """``<gateway name>/<original name>`` by id; a name of a gateway may have a slash, so the longest counts."""
        end = len(reference)
        while (end := reference.rfind("/", 0, end)) > 0:
            gateway, name = reference[:end], reference[end + 1 :]
            if gateway not in self._known:
                continue
            upstream = self._known[gateway]
            if kind is not None and upstream is not None and name not in _names_of(getattr(upstream, kind)):
                raise InvalidInput(f"the gateway {gateway} has no such {kind[:-1]}: {name}")
            return f"{self._id(gateway)}/{name}"
        raise InvalidInput(f"there is no gateway that {reference} could be of")

    def _id(self, name: str) -> str:
        if name not in self._known:
            raise InvalidInput(f"there is no gateway named {name}")
        upstream = self._known[name]
        return f"planned:{name}" if upstream is None else upstream.id


def is_as_wanted(present: Upstream | VirtualServer, wanted: CreateUpstream | CreateServer) -> bool:
    """Whether an update would change nothing that can be compared: secrets cannot."""
    if isinstance(present, Upstream) and isinstance(wanted, CreateUpstream):
        return _upstream(present) == _registration(wanted)
    if isinstance(present, VirtualServer) and isinstance(wanted, CreateServer):
        return _server(present) == _server(wanted)
    return False


def _upstream(present: Upstream) -> tuple[object, ...]:
    command = present.command
    return (
        present.url, present.transport, present.visibility, present.team, present.wanted_era, present.description,
        Credential(present.credential.kind, present.credential.public), present.tls,
        None if command is None else msgspec.structs.replace(command, sealed_environment=""), present.rest,
        _contents(each.definition for each in present.tools) if present.rest else [], present.limits,
    )  # fmt: skip


def _registration(wanted: CreateUpstream) -> tuple[object, ...]:
    return (
        wanted.url, wanted.transport, wanted.visibility, _team(wanted), wanted.era, wanted.description,
        wanted.credential, wanted.tls, wanted.command, wanted.rest, _contents(wanted.definitions), wanted.limits,
    )  # fmt: skip


def _server(server: VirtualServer | CreateServer) -> tuple[object, ...]:
    return (
        server.name, server.tools, server.resources, server.templates, server.prompts, server.upstreams, server.prefix,
        server.aliases, server.visibility, _team(server), server.description, server.instructions, server.resource,
        server.api_key_only,
    )  # fmt: skip


def _team(item: CreateUpstream | VirtualServer | CreateServer) -> str | None:
    return item.team if item.visibility == "team" else None


def _contents(definitions: Iterable[msgspec.Raw]) -> list[str]:
    """Definitions by what they say, however they are written."""
    return sorted(json.dumps(msgspec.json.decode(each), sort_keys=True) for each in definitions)


def _names_of(definitions: tuple[Definition, ...]) -> set[str]:
    return {each.name for each in definitions}
