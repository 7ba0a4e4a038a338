"""The configuration as one document: what it may hold, how things of this deployment are written in it.

Names identify things: a gateway by its name, what it offers as ``<gateway name>/<original name>``. No secret is in it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, cast

import msgspec
import yaml
from pydantic import ConfigDict, Field

from interlock_common.errors import InvalidInput
from interlock_common.messages.catalog import Credential, Upstream, VirtualServer
from interlock_gateway.rest.bodies_of_catalog import GatewayBody, ServerBody
from interlock_gateway.upstreams.rest.openapi_document import OpenApiInvalid, read

VERSION = 1
MAX_ITEMS = 2_000
MEDIA_TYPE = "application/yaml"

NEEDED: Mapping[str, tuple[str, ...]] = {
    "header": ("value",),
    "basic": ("password",),
    "client_credentials": ("client_secret",),
}
"""The secrets without which a credential of a kind is of no use."""

ENVIRONMENT = "environment"
REFERENCES = ("associated_tools", "associated_resources", "associated_templates", "associated_prompts")
_SECTIONS = frozenset({"version", "gateways", "servers"})
_NUMBER_LIKE = re.compile(r"[-+.0-9]")

type Entry = dict[str, Any]


class GatewayEntry(GatewayBody):
    """A gateway of a document; ``secrets_needed`` says what an export had to leave out."""

    model_config = ConfigDict(extra="forbid")

    secrets_needed: Annotated[tuple[str, ...], Field(max_length=50)] = ()

    def missing(self) -> list[str]:
        """The secrets that are needed and not given."""
        kept = self.secrets.credential
        missing = [f"credential.{name}" for name in NEEDED.get(self.credential.kind, ()) if not kept.get(name)]
        if ENVIRONMENT in self.secrets_needed and not self.secrets.environment:
            missing.append(ENVIRONMENT)
        return missing


class ServerEntry(ServerBody):
    """A virtual server of a document; its references begin with the names of gateways."""

    model_config = ConfigDict(extra="forbid")


def parse(body: bytes) -> tuple[list[Any], list[Any]]:
    """The gateways and the servers of a document in YAML or JSON, not looked at yet; raises InvalidInput."""
    try:
        root = read(body)
    except OpenApiInvalid as error:
        raise InvalidInput(error.detail) from None
    if unknown := sorted(str(key)[:100] for key in root.keys() - _SECTIONS):
        raise InvalidInput(f"a configuration has no section {unknown[0]}", field=unknown[0])
    if root.get("version", VERSION) != VERSION:
        raise InvalidInput(f"this gateway reads configurations of version {VERSION}", field="version")
    return _items(root, "gateways"), _items(root, "servers")


def _items(root: Mapping[str, Any], section: str) -> list[Any]:
    found = root.get(section)
    if found is None:
        return []
    if not isinstance(found, list):
        raise InvalidInput(f"{section} is a list", field=section)
    items = cast("list[Any]", found)
    if len(items) > MAX_ITEMS:
        raise InvalidInput(f"{section} has at most {MAX_ITEMS} items", field=section)
    return items


def document_of(
    gateways: Iterable[Upstream], servers: Iterable[VirtualServer], names: Mapping[str, str]
) -> dict[str, Any]:
    """The document that tells of these; ``names`` are those of all gateways, by id."""
    return {
        "version": VERSION,
        "gateways": [gateway_entry(each) for each in gateways],
        "servers": [server_entry(each, names) for each in servers],
    }


def render(document: Mapping[str, Any]) -> bytes:
    """The document as YAML that any reader of YAML 1.1 or 1.2 takes for the same values."""
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, encoding="utf-8",
        width=120,
    )  # fmt: skip


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # What counts as a number differs between the versions of YAML: a text that could be one is quoted.
    style = "'" if _NUMBER_LIKE.match(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)  # pyright: ignore[reportUnknownMemberType] - untyped there


_Dumper.add_representer(str, _text)


def gateway_entry(upstream: Upstream) -> Entry:
    """A gateway, without what is as it would be anyway."""
    credential = upstream.credential
    needed = [f"credential.{name}" for name in NEEDED.get(credential.kind, ())]
    if upstream.command is not None and upstream.command.sealed_environment:
        needed.append(ENVIRONMENT)
    public = Credential(kind=credential.kind, public=credential.public)
    command = None if upstream.command is None else msgspec.structs.replace(upstream.command, sealed_environment="")
    definitions = [msgspec.json.decode(each.definition) for each in upstream.tools] if upstream.rest else []
    return _without_empty({
        "name": upstream.name, "transport": upstream.transport, "url": upstream.url,
        "description": upstream.description, **_sight(upstream), "era": upstream.wanted_era,
        "credential": _differing(public), "secrets_needed": needed,
        "tls": None if upstream.tls is None else {"verify": True} | _differing(upstream.tls),
        "command": None if command is None else _differing(command),
        "rest": {name: _differing(call) for name, call in upstream.rest.items()}, "definitions": definitions,
        "limits": _differing(upstream.limits),
    })  # fmt: skip


def server_entry(server: VirtualServer, names: Mapping[str, str]) -> Entry:
    """A virtual server, without what is as it would be anyway; what is gone from the gateway is left out."""

    def named(references: Iterable[str]) -> list[str]:
        return [name for name in (_named(reference, names) for reference in references) if name is not None]

    aliases = {_named(reference, names): alias for reference, alias in server.aliases.items()}
    return _without_empty({
        "name": server.name, "id": server.id, "description": server.description, **_sight(server),
        "associated_tools": named(server.tools), "associated_resources": named(server.resources),
        "associated_templates": named(server.templates), "associated_prompts": named(server.prompts),
        "associated_upstreams": [names[each] for each in server.upstreams if each in names], "prefix": server.prefix,
        "aliases": {name: alias for name, alias in aliases.items() if name is not None},
        "instructions": server.instructions, "resource": server.resource, "api_key_only": server.api_key_only,
    })  # fmt: skip


def _differing(part: msgspec.Struct) -> Entry:
    """The fields that are not as they are by default."""
    fields = msgspec.structs.fields(part)
    defaults = {
        each.name: each.default if each.default_factory is msgspec.NODEFAULT else each.default_factory()
        for each in fields
    }
    values = {name: getattr(part, name) for name in defaults}
    return {name: msgspec.to_builtins(value) for name, value in values.items() if value != defaults[name]}


def _sight(item: Upstream | VirtualServer) -> Entry:
    return {"visibility": item.visibility, "team_id": item.team}


def _named(reference: str, names: Mapping[str, str]) -> str | None:
    upstream_id, _, name = reference.partition("/")
    gateway = names.get(upstream_id)
    return None if gateway is None else f"{gateway}/{name}"


def _without_empty(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if value not in (None, "", [], {}, False)}
