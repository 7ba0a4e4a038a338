"""Rows of upstreams and their definitions, from and to what the catalog speaks of."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from interlock_common.messages.catalog import (
    Command,
    Credential,
    Definition,
    DefinitionKind,
    Era,
    Kind,
    Limits,
    RestCall,
    Standing,
    Tls,
    Upstream,
    Visibility,
)
from interlock_gateway.catalog.models import DefinitionRow, UpstreamRow
from interlock_gateway.catalog.pinning import Pinned


class _Announces(msgspec.Struct, frozen=True, rename="camel"):
    list_changed: bool = False


class _Announcing(msgspec.Struct, frozen=True):
    tools: _Announces | None = None
    resources: _Announces | None = None
    prompts: _Announces | None = None


def announces(capabilities: bytes) -> bool:
    """Whether a server says that it tells when one of its lists changes."""
    try:
        said = msgspec.json.decode(capabilities, type=_Announcing)
    except msgspec.DecodeError:
        return False
    return any(part is not None and part.list_changed for part in (said.tools, said.resources, said.prompts))


def registration_columns(upstream: Upstream) -> dict[str, Any]:
    """What whoever registered an upstream said of it."""
    return {
        "name": upstream.name, "slug": upstream.slug, "url": upstream.url, "transport": upstream.transport,
        "description": upstream.description, "wanted_era": upstream.wanted_era, "visibility": upstream.visibility,
        "team": upstream.team, "credential": msgspec.to_builtins(upstream.credential),
        "tls": None if upstream.tls is None else msgspec.to_builtins(upstream.tls),
        "command": None if upstream.command is None else msgspec.to_builtins(upstream.command),
        "rest": msgspec.to_builtins(upstream.rest), "limits": msgspec.to_builtins(upstream.limits),
    }  # fmt: skip


def state_columns(upstream: Upstream) -> dict[str, Any]:
    """What a look found out about an upstream."""
    capabilities = bytes(upstream.capabilities)
    return {
        "era": upstream.era, "protocol_version": upstream.protocol_version, "capabilities": capabilities.decode(),
        "instructions": upstream.instructions, "reachable": upstream.reachable, "problem": upstream.problem,
        "listens": announces(capabilities),
    }  # fmt: skip


def upstream_of(row: UpstreamRow, definitions: Sequence[DefinitionRow]) -> Upstream:
    """An upstream with those of ``definitions`` that it has now, which are in their order."""
    return Upstream(
        id=row.id, name=row.name, slug=row.slug, url=row.url, era=cast("Era", row.era),
        protocol_version=row.protocol_version, owner=row.owner, visibility=cast("Visibility", row.visibility),
        team=row.team, reachable=row.reachable, problem=row.problem, transport=cast("Kind", row.transport),
        tools=_of("tool", definitions), resources=_of("resource", definitions),
        templates=_of("template", definitions), prompts=_of("prompt", definitions),
        capabilities=msgspec.Raw(row.capabilities.encode()), instructions=row.instructions,
        description=row.description, credential=msgspec.convert(row.credential, Credential),
        tls=msgspec.convert(row.tls, Tls | None), command=msgspec.convert(row.command, Command | None),
        rest=msgspec.convert(row.rest, dict[str, RestCall]), limits=msgspec.convert(row.limits, Limits),
        wanted_era=cast("Era | None", row.wanted_era),
    )  # fmt: skip


def _of(kind: DefinitionKind, rows: Sequence[DefinitionRow]) -> tuple[Definition, ...]:
    return tuple(
        Definition(row.name, msgspec.Raw(row.definition), row.digest, cast("Standing", row.standing), row.reason)
        for row in rows
        if row.kind == kind and row.gone is None
    )


def pin_of(row: DefinitionRow) -> Pinned:
    return Pinned(
        kind=cast("DefinitionKind", row.kind), name=row.name, position=row.position, definition=row.definition,
        digest=row.digest, standing=cast("Standing", row.standing), reason=row.reason,
        accepted_digest=row.accepted_digest, accepted=_accepted(row), gone=row.gone,
    )  # fmt: skip


def pin_columns(pin: Pinned) -> dict[str, Any]:
    """The columns of a pin; the accepted version is stored where it is another than the present one."""
    return {
        "kind": pin.kind, "name": pin.name, "position": pin.position, "definition": pin.definition,
        "digest": pin.digest, "standing": pin.standing, "reason": pin.reason, "accepted_digest": pin.accepted_digest,
        "accepted": None if pin.accepted == pin.definition or not pin.accepted_digest else pin.accepted,
        "gone": pin.gone,
    }  # fmt: skip


def _accepted(row: DefinitionRow) -> bytes:
    if not row.accepted_digest:
        return b""
    return row.definition if row.accepted is None else row.accepted
