"""What may be sent about gateways and virtual servers, and the requests to the catalog it becomes."""

from typing import Annotated, Any, Literal, cast

import msgspec
from pydantic import ConfigDict, Field, field_validator, model_validator

from interlock_common.messages.catalog import (
    Command,
    CreateServer,
    CreateUpstream,
    Credential,
    Era,
    Kind,
    Limits,
    Naming,
    RestCall,
    Secrets,
    Tls,
    Visibility,
)
from interlock_common.messages.common import Actor
from interlock_gateway.rest.schemas import Body, Name

type Reference = Annotated[str, Field(min_length=1, max_length=2200)]
type References = Annotated[tuple[Reference, ...], Field(max_length=2000)]
type Mapped = Annotated[dict[Name, Annotated[str, Field(max_length=8192)]], Field(max_length=200)]
type Members = Annotated[
    dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=8192)]], Field(max_length=200)
]
type Description = Annotated[str, Field(max_length=4096)]
type Path = Annotated[str, Field(max_length=1024)]

_NOTHING: dict[str, Any] = {}  # copied for every body
_TRANSPORTS = {"streamablehttp": "http", "streamable_http": "http", "streamable-http": "http"}
"""What other gateways call it."""
_GATEWAYS: list[Any] = [
    {
        "name": "notes", "url": "https://notes.example.com/mcp",
        "credential": {"kind": "header", "public": {"name": "X-Api-Key"}},
        "secrets": {"credential": {"value": "…"}},
    },
    {"name": "files", "transport": "stdio", "command": {"argv": ["npx", "-y", "server-filesystem", "/srv"]}},
    {"name": "jobs", "transport": "worker", "url": "worker://jobs", "visibility": "team", "team_id": "red"},
]  # fmt: skip
_SERVERS: list[Any] = [
    {"name": "Desk", "id": "desk", "associated_tools": ["4f6c…/add_note"], "associated_upstreams": ["91d0…"]},
    {
        "name": "Desk", "prefix": "custom", "associated_tools": ["4f6c…/add_note"],
        "aliases": {"4f6c…/add_note": "write_down"},
    },
]  # fmt: skip


class _Part(Body):
    """A part of a registration: a field that nobody knows would be a mistake that goes unnoticed."""

    model_config = ConfigDict(extra="forbid")


class CredentialBody(_Part):
    """What the gateway shows the upstream; the secret part goes into ``secrets``."""

    kind: Literal["none", "header", "basic", "client_credentials", "oauth", "token_exchange"] = "none"
    public: Annotated[Mapped, Field(examples=[{"name": "X-Api-Key"}])] = _NOTHING


class SecretsBody(_Part):
    """Write-only: kept sealed, never shown. Left out of an update, they stay as they are."""

    credential: Annotated[Mapped, Field(examples=[{"value": "…"}])] = _NOTHING
    environment: Mapped = _NOTHING


class TlsBody(_Part):
    """TLS towards the upstream: paths of PEM files on the machine of whoever connects."""

    ca_bundle: Path = ""
    certfile: Path = ""
    keyfile: Path = ""
    verify: bool = True
    check_hostname: bool = True


class CommandBody(_Part):
    """A server that talks over its standard input and output; memory in bytes, CPU in cores."""

    argv: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(min_length=1, max_length=200)]
    environment: Mapped = _NOTHING
    directory: Path = ""
    memory: Annotated[int, Field(ge=1, lt=2**53)] = 512 * 1024 * 1024
    cpu: Annotated[float, Field(gt=0, le=1024)] = 1.0
    idle_seconds: Annotated[float, Field(gt=0, le=7 * 86400)] = 300.0
    shared: bool = False


class RestCallBody(_Part):
    """How a tool becomes an HTTP request: what goes out, and the argument each value comes from."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: Annotated[str, Field(max_length=2048, examples=["/orders/{id}"])]
    query: Mapped = _NOTHING
    headers: Mapped = _NOTHING
    body: Annotated[Members, Field(description="an empty key: the argument is the whole body")] | None = None
    result: Annotated[str, Field(max_length=1024, examples=["$.items"])] = "$"


class LimitsBody(_Part):
    """Limits of one upstream; null leaves it to the settings of the edge. Times in seconds."""

    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    idle_timeout: Annotated[float, Field(gt=0, le=86400)] | None = None
    call_timeout: Annotated[float, Field(gt=0, le=86400)] | None = None


class GatewayBody(Body):
    """An upstream to register, whatever kind it is."""

    model_config = ConfigDict(json_schema_extra={"examples": _GATEWAYS})

    name: Name
    url: Annotated[str, Field(max_length=2048, examples=["https://notes.example.com/mcp"])] = ""
    transport: Annotated[Kind, Field(description="how it is reached")] = "http"
    description: Description | None = None
    visibility: Visibility = "public"
    team_id: Name | None = None
    era: Annotated[Era | None, Field(description="which era of the protocol to speak; found out if unset")] = None
    credential: CredentialBody = CredentialBody()
    secrets: SecretsBody = SecretsBody()
    tls: TlsBody | None = None
    command: CommandBody | None = None
    rest: Annotated[dict[Name, RestCallBody], Field(max_length=2000, description="the call of each tool")] = _NOTHING
    definitions: Annotated[tuple[dict[str, Any], ...], Field(max_length=2000, description="the tools of `rest`")] = ()
    limits: LimitsBody = LimitsBody()

    @field_validator("transport", mode="before")
    @classmethod
    def _known_as(cls, given: object) -> object:
        lower = given.lower() if isinstance(given, str) else given
        return _TRANSPORTS.get(lower, lower) if isinstance(lower, str) else lower

    @field_validator("url", mode="after")
    @classmethod
    def _trimmed(cls, given: str) -> str:
        return given.strip()

    def request(self, actor: Actor) -> CreateUpstream:
        """The registration, on behalf of ``actor``."""
        return CreateUpstream(
            actor=actor, name=self.name.strip(), url=self.url, transport=self.transport, visibility=self.visibility,
            team=self.team_id, era=self.era, description=self.description or "",
            credential=Credential(kind=self.credential.kind, public=dict(self.credential.public)),
            tls=None if self.tls is None else Tls(**self.tls.model_dump()),
            command=None if self.command is None else Command(**self.command.model_dump()),
            rest={name: RestCall(**call.model_dump()) for name, call in self.rest.items()},
            definitions=tuple(msgspec.Raw(msgspec.json.encode(each)) for each in self.definitions),
            limits=Limits(**self.limits.model_dump()),
            secrets=Secrets(dict(self.secrets.credential), dict(self.secrets.environment)),
        )  # fmt: skip


class ServerBody(Body):
    """A virtual server to compose; may also come wrapped as ``{"server": {…}}``."""

    model_config = ConfigDict(json_schema_extra={"examples": _SERVERS})

    name: Name
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    description: Description | None = None
    associated_tools: Annotated[References, Field(description="ids of GET /tools: <gateway id>/<tool name>")] = ()
    associated_resources: Annotated[
        References, Field(description="ids of GET /resources: <gateway id>/<URI, or URI template>")
    ] = ()
    associated_prompts: Annotated[References, Field(description="ids of GET /prompts")] = ()
    associated_templates: Annotated[References, Field(description="resource templates, if named apart")] = ()
    associated_upstreams: Annotated[References, Field(description="gateways of which everything is taken in")] = ()
    prefix: Annotated[Naming, Field(description="how public names are made")] = "none"
    aliases: Annotated[
        dict[Reference, Annotated[str, Field(max_length=128)]],
        Field(max_length=2000, description="public names by id, for the prefix `custom`"),
    ] = _NOTHING
    visibility: Visibility = "public"
    team_id: Name | None = None
    instructions: Annotated[str, Field(max_length=16_384, description="what clients are told at the handshake")] = ""
    resource: Annotated[
        str, Field(max_length=2048, description="OAuth resource identifier (https); empty for the endpoint's URL")
    ] = ""
    api_key_only: Annotated[bool, Field(description="whether OAuth is not advertised")] = False

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, data: Any) -> Any:
        """Some clients wrap the server and put visibility and team beside it."""
        if not isinstance(data, dict):
            return data
        given = cast("dict[str, Any]", data)
        if not isinstance(inner := given.get("server"), dict):
            return given
        beside = {key: given[key] for key in ("visibility", "team_id") if given.get(key) is not None}
        return beside | cast("dict[str, Any]", inner)

    def request(self, actor: Actor) -> CreateServer:
        """The composition, on behalf of ``actor``."""
        return CreateServer(
            actor=actor, name=self.name.strip(), id=self.id, tools=self.associated_tools,
            resources=self.associated_resources, templates=self.associated_templates, prompts=self.associated_prompts,
            upstreams=self.associated_upstreams, prefix=self.prefix, aliases=dict(self.aliases),
            visibility=self.visibility, team=self.team_id, description=self.description or "",
            instructions=self.instructions, resource=self.resource, api_key_only=self.api_key_only,
        )  # fmt: skip


class AcceptBody(Body):
    """Which definition is accepted: the one that was looked at, and no other that came meanwhile."""

    digest: Annotated[str, Field(min_length=1, max_length=200, examples=["sha256:9f86d081…"])]
