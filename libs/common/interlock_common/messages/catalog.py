"""What the catalog answers and publishes: upstreams with what they offer, and virtual servers."""

from typing import Literal

import msgspec

from interlock_common.messages.common import Actor

Era = Literal["modern", "legacy"]
Visibility = Literal["public", "team", "private"]
Kind = Literal["http", "sse", "stdio", "rest", "reverse", "worker"]
"""How an upstream is reached.

``http`` streamable HTTP; ``sse`` HTTP with SSE of 2024-11-05; ``stdio`` a command that a connector runs; ``rest``
REST endpoints as tools; ``reverse`` a server that dialled in; ``worker`` a process that answers on the bus.
"""

Naming = Literal["none", "collision", "always", "custom"]
"""How public names are made: as upstreams have them, prefixed where two collide, always prefixed, or as chosen.

Where ``none`` or ``custom`` would give one name to two things, both are prefixed: nobody takes over a name.
"""

Standing = Literal["accepted", "warned", "quarantined"]
"""What a changed definition has come to: only an accepted or warned one can be used."""

DefinitionKind = Literal["tool", "resource", "template", "prompt"]


class Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool, resource, template or prompt as its upstream defined it.

    ``name`` is what it is asked for by: the name of a tool or prompt, the URI of a resource, the URI template of a
    template. ``definition`` is the JSON object as it came over the wire, ``digest`` its ``sha256:<hex>``. ``reason``
    says in words why it does not stand as accepted.
    """

    name: str
    definition: msgspec.Raw
    digest: str
    standing: Standing = "accepted"
    reason: str = ""


class Tls(msgspec.Struct, frozen=True, omit_defaults=True):
    """TLS towards one upstream: paths of PEM files on the machine of whoever connects, read anew as they change."""

    ca_bundle: str = ""
    certfile: str = ""
    keyfile: str = ""
    verify: bool = True
    check_hostname: bool = True


class Credential(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the gateway shows an upstream; never the client's own token.

    ``sealed`` is the secret part, sealed under the purpose ``credential`` with the upstream's id (``sealing.py``).
    ``public`` says what may be shown: a header's name, a user, a client id, a token endpoint.
    """

    kind: Literal["none", "header", "basic", "client_credentials", "oauth", "token_exchange"] = "none"
    public: dict[str, str] = {}
    sealed: str = ""


class Command(msgspec.Struct, frozen=True, omit_defaults=True):
    """A server that talks over its standard input and output; the environment is exactly ``environment``.

    ``sealed_environment`` holds the secret part (a JSON object, purpose ``environment``). Memory in bytes, CPU in
    seconds per second (1.0 is one core); processes end after ``idle_seconds`` without a request.
    """

    argv: tuple[str, ...]
    environment: dict[str, str] = {}
    sealed_environment: str = ""
    directory: str = ""
    memory: int = 512 * 1024 * 1024
    cpu: float = 1.0
    idle_seconds: float = 300.0
    shared: bool = False
    """One process for all principals; otherwise each principal has one of its own."""


class RestCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a tool becomes an HTTP request.

    ``path`` is relative to the upstream's URL, with ``{argument}`` in it. ``query``, ``headers`` and ``body`` map
    what goes out to the argument it takes its value from; with ``body`` None, arguments that are used nowhere else
    are the JSON body of methods that have one, and under the only key ``""`` an argument is the body itself.
    ``result`` is a path into the JSON answer (RFC 9535, singular).
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: dict[str, str] | None = None
    result: str = "$"


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Limits of one upstream; None leaves it to the edge's settings. Times in seconds."""

    concurrency: int | None = None
    idle_timeout: float | None = None
    call_timeout: float | None = None


class Upstream(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="upstream"):
    """Something behind the gateway; bucket ``catalog``, key ``upstream.<id>``.

    ``slug`` prefixes its names where names are prefixed. ``owner`` is a principal. ``team`` is set when the
    visibility is ``team``. ``capabilities`` is what the server said it can do, raw. ``rest`` has a call for each
    tool of a REST upstream.
    """

    id: str
    name: str
    slug: str
    url: str
    era: Era
    protocol_version: str
    owner: str
    visibility: Visibility = "public"
    team: str | None = None
    reachable: bool = True
    problem: str = ""
    transport: Kind = "http"
    tools: tuple[Definition, ...] = ()
    resources: tuple[Definition, ...] = ()
    templates: tuple[Definition, ...] = ()
    prompts: tuple[Definition, ...] = ()
    capabilities: msgspec.Raw = msgspec.Raw(b"{}")
    instructions: str = ""
    description: str = ""
    credential: Credential = Credential()
    tls: Tls | None = None
    command: Command | None = None
    rest: dict[str, RestCall] = {}
    limits: Limits = Limits()
    wanted_era: Era | None = None
    """The era that the registration fixed; None where it is found out."""


class VirtualServer(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="server"):
    """A chosen set under ``/servers/{id}/mcp``; bucket ``catalog``, key ``server.<id>``.

    ``tools``, ``resources``, ``templates`` and ``prompts`` are ``<upstream id>/<original name>``; ``upstreams``
    take in all that an upstream has. ``aliases`` maps such a reference to its public name (naming ``custom``).
    ``resource`` is the OAuth resource identifier (RFC 8707), empty for the URL of the endpoint.
    """

    id: str
    name: str
    owner: str
    tools: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    prefix: Naming = "none"
    aliases: dict[str, str] = {}
    visibility: Visibility = "public"
    team: str | None = None
    description: str = ""
    instructions: str = ""
    resource: str = ""
    api_key_only: bool = False


type CatalogItem = Upstream | VirtualServer
"""A value of bucket ``catalog``; its ``kind`` says which."""


class Secrets(msgspec.Struct, frozen=True, omit_defaults=True):
    """The secret parts of a registration in the clear, between the edge and the catalog only; kept sealed.

    ``credential`` has the keys its kind needs: ``value`` (header), ``password`` (basic), ``client_secret``.
    """

    credential: dict[str, str] = {}
    environment: dict[str, str] = {}


class CreateUpstream(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.upstream.create``: register, discover, publish."""

    actor: Actor
    name: str
    url: str = ""
    transport: Kind = "http"
    visibility: Visibility = "public"
    team: str | None = None
    era: Era | None = None
    description: str = ""
    credential: Credential = Credential()
    tls: Tls | None = None
    command: Command | None = None
    rest: dict[str, RestCall] = {}
    definitions: tuple[msgspec.Raw, ...] = ()
    """The tools of a REST upstream, as tool objects."""
    limits: Limits = Limits()
    secrets: Secrets = Secrets()


class UpdateUpstream(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.upstream.update``: the registration of ``id`` as it is to be from now on, in full.

    Secrets that are not given stay as they are, unless the kind of the credential changes.
    """

    id: str
    registration: CreateUpstream


class CreateServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.server.create``."""

    actor: Actor
    name: str
    id: str | None = None
    tools: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    prefix: Naming = "none"
    aliases: dict[str, str] = {}
    visibility: Visibility = "public"
    team: str | None = None
    description: str = ""
    instructions: str = ""
    resource: str = ""
    api_key_only: bool = False


class UpdateServer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.server.update``: the composition of ``id`` as it is to be from now on, in full."""

    id: str
    composition: CreateServer


class AcceptDefinition(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.catalog.definition.accept``: what stands under ``name`` counts from now on, if it still has ``digest``."""

    actor: Actor
    upstream_id: str
    kind: DefinitionKind
    name: str
    digest: str


class UpstreamList(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page without what they offer, so that it fits a message; ``next_cursor`` asks for the page after it."""

    upstreams: tuple[Upstream, ...]
    next_cursor: str | None = None


class ServerList(msgspec.Struct, frozen=True, omit_defaults=True):
    servers: tuple[VirtualServer, ...]
    next_cursor: str | None = None


class UpstreamChanged(msgspec.Struct, frozen=True, omit_defaults=True):
    """Event ``evt.catalog.upstream.changed``."""

    id: str
    change: Literal["created", "updated", "refreshed", "accepted", "deleted"]
    tools: int = 0


def upstream_key(upstream_id: str) -> str:
    return f"upstream.{upstream_id}"


def server_key(server_id: str) -> str:
    return f"server.{server_id}"
