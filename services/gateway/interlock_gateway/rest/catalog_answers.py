"""What REST answers of gateways, virtual servers and what they offer; every field is always there."""

from typing import Any

import msgspec

from interlock_common.messages.catalog import (
    Definition,
    Era,
    Kind,
    Naming,
    Standing,
    Upstream,
    VirtualServer,
    Visibility,
)
from interlock_gateway.rest.seen import Offered
from interlock_gateway.uris import public_uri


class CredentialAnswer(msgspec.Struct, frozen=True):
    """What may be shown of a credential; ``has_secret`` says whether a secret is kept."""

    kind: str
    public: dict[str, str]
    has_secret: bool


class TlsAnswer(msgspec.Struct, frozen=True):
    ca_bundle: str
    certfile: str
    keyfile: str
    verify: bool
    check_hostname: bool


class CommandAnswer(msgspec.Struct, frozen=True):
    argv: tuple[str, ...]
    environment: dict[str, str]
    has_secret_environment: bool
    directory: str
    memory: int
    cpu: float
    idle_seconds: float
    shared: bool


class RestCallAnswer(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, str] | None
    result: str


class LimitsAnswer(msgspec.Struct, frozen=True):
    concurrency: int | None
    idle_timeout: float | None
    call_timeout: float | None


class Configuration(msgspec.Struct, frozen=True):
    """How a gateway is reached: shown to whoever may change it."""

    credential: CredentialAnswer
    tls: TlsAnswer | None
    command: CommandAnswer | None
    rest: dict[str, RestCallAnswer]
    limits: LimitsAnswer


class Gateway(msgspec.Struct, frozen=True):
    """An upstream; ``problem`` says why it is not reachable, or what is missing of it.

    ``configuration`` is null for who may not change it.
    ``consent_url`` is the page on which whoever asks grants the gateway the use of it, where that is still needed.
    """

    id: str
    name: str
    slug: str
    url: str
    transport: Kind
    description: str
    visibility: Visibility
    team_id: str | None
    owner: str
    era: Era
    protocol_version: str
    reachable: bool
    problem: str
    instructions: str
    capabilities: msgspec.Raw
    tool_count: int
    resource_count: int
    prompt_count: int
    configuration: Configuration | None
    consent_url: str


class Server(msgspec.Struct, frozen=True):
    """A virtual server, and the path of its MCP endpoint."""

    id: str
    name: str
    description: str
    visibility: Visibility
    team_id: str | None
    owner: str
    associated_tools: tuple[str, ...]
    associated_resources: tuple[str, ...]
    associated_templates: tuple[str, ...]
    associated_prompts: tuple[str, ...]
    associated_upstreams: tuple[str, ...]
    prefix: Naming
    aliases: dict[str, str]
    instructions: str
    resource: str
    api_key_only: bool
    path: str


class _Thing(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    original_name: str
    title: str
    description: str
    upstream_id: str
    upstream_name: str
    reachable: bool
    digest: str
    standing: Standing
    reason: str


class ToolAnswer(_Thing, frozen=True, kw_only=True):
    """A tool: ``name`` as it is offered, ``original_name`` as its upstream has it; the schema as it came."""

    input_schema: msgspec.Raw


class ResourceAnswer(_Thing, frozen=True, kw_only=True):
    """A resource or a template: ``name`` is the URI as it is offered, ``original_name`` as its upstream has it."""

    template: bool
    label: str
    mime_type: str


class PromptAnswer(_Thing, frozen=True, kw_only=True):
    """A prompt: ``name`` as it is offered, ``original_name`` as its upstream has it."""

    arguments: msgspec.Raw


class ToolShown(ToolAnswer, frozen=True, kw_only=True):
    """A tool with its whole definition, byte for byte."""

    definition: msgspec.Raw


class ResourceShown(ResourceAnswer, frozen=True, kw_only=True):
    """A resource or a template with its whole definition, byte for byte."""

    definition: msgspec.Raw


class PromptShown(PromptAnswer, frozen=True, kw_only=True):
    """A prompt with its whole definition, byte for byte."""

    definition: msgspec.Raw


class _Described(msgspec.Struct, frozen=True, rename="camel"):
    """An upstream may put anything anywhere; what is odd is shown as if it were not there."""

    input_schema: msgspec.Raw = msgspec.Raw(b"{}")
    arguments: msgspec.Raw = msgspec.Raw(b"[]")
    name: msgspec.Raw = msgspec.Raw()
    title: msgspec.Raw = msgspec.Raw()
    description: msgspec.Raw = msgspec.Raw()
    mime_type: msgspec.Raw = msgspec.Raw()


class Kept(msgspec.Struct, frozen=True):
    """Which secrets of a gateway are kept: what the catalog answers does not show them, even sealed."""

    credential: bool = False
    environment: bool = False

    @classmethod
    def of(cls, mirrored: Upstream | None) -> "Kept":
        """What the mirror, which has them sealed, knows."""
        if mirrored is None:
            return cls()
        command = mirrored.command
        return cls(bool(mirrored.credential.sealed), command is not None and bool(command.sealed_environment))


def gateway(upstream: Upstream, offering: Upstream | None, kept: Kept | None, consent_url: str = "") -> Gateway:
    """``offering`` is the same upstream with what it offers; ``kept`` None shows nothing of the configuration."""
    counted = offering or upstream
    return Gateway(
        id=upstream.id, name=upstream.name, slug=upstream.slug, url=upstream.url, transport=upstream.transport,
        description=upstream.description, visibility=upstream.visibility, team_id=upstream.team,
        owner=upstream.owner, era=upstream.era, protocol_version=upstream.protocol_version,
        reachable=upstream.reachable, problem=upstream.problem, instructions=upstream.instructions,
        capabilities=upstream.capabilities, tool_count=len(counted.tools),
        resource_count=len(counted.resources) + len(counted.templates), prompt_count=len(counted.prompts),
        configuration=None if kept is None else _configuration(counted, kept),
        consent_url=consent_url,
    )  # fmt: skip


def _configuration(upstream: Upstream, kept: Kept) -> Configuration:
    credential, command = upstream.credential, upstream.command
    as_dict = msgspec.structs.asdict
    return Configuration(
        credential=CredentialAnswer(credential.kind, credential.public, kept.credential),
        tls=None if upstream.tls is None else msgspec.convert(as_dict(upstream.tls), TlsAnswer),
        command=None if command is None else msgspec.convert(
            as_dict(command) | {"has_secret_environment": kept.environment}, CommandAnswer
        ),
        rest={name: msgspec.convert(as_dict(call), RestCallAnswer) for name, call in upstream.rest.items()},
        limits=msgspec.convert(as_dict(upstream.limits), LimitsAnswer),
    )  # fmt: skip


def server(virtual: VirtualServer) -> Server:
    return Server(
        id=virtual.id, name=virtual.name, description=virtual.description, visibility=virtual.visibility,
        team_id=virtual.team, owner=virtual.owner, associated_tools=virtual.tools,
        associated_resources=virtual.resources, associated_templates=virtual.templates,
        associated_prompts=virtual.prompts, associated_upstreams=virtual.upstreams, prefix=virtual.prefix,
        aliases=virtual.aliases, instructions=virtual.instructions, resource=virtual.resource,
        api_key_only=virtual.api_key_only, path=f"/servers/{virtual.id}/mcp",
    )  # fmt: skip


def tool(found: Offered, name: str | None = None) -> ToolAnswer:
    """``name`` is what it is called where it is offered; ``/mcp`` prefixes it."""
    described = _described(found.definition)
    return ToolAnswer(**_thing(found, described, name or _prefixed(found)), input_schema=described.input_schema)


def resource(found: Offered, name: str | None = None) -> ResourceAnswer:
    described = _described(found.definition)
    public = name or public_uri(found.upstream.slug, found.definition.name)
    return ResourceAnswer(
        **_thing(found, described, public), template=found.kind == "template", label=_text(described.name),
        mime_type=_text(described.mime_type),
    )  # fmt: skip


def prompt(found: Offered, name: str | None = None) -> PromptAnswer:
    described = _described(found.definition)
    return PromptAnswer(**_thing(found, described, name or _prefixed(found)), arguments=described.arguments)


def shown[S: ToolShown | ResourceShown | PromptShown](kind: type[S], thing: _Thing, found: Offered) -> S:
    """A thing with its definition."""
    members = {name: getattr(thing, name) for name in thing.__struct_fields__}
    return kind(**members, definition=found.definition.definition)


def _prefixed(found: Offered) -> str:
    return f"{found.upstream.slug}-{found.definition.name}"


def _thing(found: Offered, described: _Described, name: str) -> dict[str, Any]:
    upstream, definition = found.upstream, found.definition
    return {
        "id": f"{upstream.id}/{definition.name}", "name": name, "original_name": definition.name,
        "title": _text(described.title), "description": _text(described.description), "upstream_id": upstream.id,
        "upstream_name": upstream.name, "reachable": upstream.reachable, "digest": definition.digest,
        "standing": definition.standing, "reason": definition.reason,
    }  # fmt: skip


def _described(definition: Definition) -> _Described:
    return msgspec.json.decode(definition.definition, type=_Described)


def _text(value: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return ""
