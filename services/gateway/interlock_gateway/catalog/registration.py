"""What may be registered: each kind of upstream with what belongs to it, and nothing else."""

import re
from pathlib import PurePosixPath

import msgspec

from interlock_common.errors import InvalidInput, UpstreamFailed
from interlock_common.messages.catalog import (
    Command,
    CreateUpstream,
    Credential,
    Definition,
    Kind,
    Limits,
    Secrets,
    Tls,
    Upstream,
)
from interlock_gateway.catalog import naming
from interlock_gateway.catalog.errors import InvalidRegistration, InvalidUrl
from interlock_gateway.catalog.visibility import require, settled_team
from interlock_gateway.upstreams.discovery.definitions import Collected
from interlock_gateway.upstreams.rest.arguments import check_schema
from interlock_gateway.upstreams.rest.request import check_call

SYSTEM_PERMISSION = "admin.system_config"
"""Needed for what reaches the machine itself: commands that run there, files that are read there."""

OVER_HTTP: frozenset[Kind] = frozenset({"http", "sse", "rest"})
MAX_ARGUMENTS = 64
MAX_TEXT = 8192
MAX_ENTRIES = 64
MAX_REST_CALLS = 1_000
REST_REVISION = "2026-07-28"
"""What a REST upstream counts as: it has no protocol of its own, and the edge makes its answers."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_WORKER = re.compile(r"worker://[A-Za-z0-9_-]{1,64}(?:\.[A-Za-z0-9_-]{1,64}){0,7}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OWN_HEADERS = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host",
    "keep-alive", "last-event-id", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    "traceparent", "tracestate", "baggage",
})  # fmt: skip
"""Headers that the gateway sets itself, besides all that begin with ``mcp-``."""

_SECRETS: dict[str, frozenset[str]] = {
    "none": frozenset(), "header": frozenset({"value"}), "basic": frozenset({"password"}),
    "client_credentials": frozenset({"client_secret"}), "oauth": frozenset({"client_secret"}),
    "token_exchange": frozenset({"client_secret"}),
}  # fmt: skip
_PUBLIC: dict[str, frozenset[str]] = {
    "none": frozenset(), "header": frozenset(), "basic": frozenset({"user"}),
    "client_credentials": frozenset({"client_id", "token_endpoint"}), "oauth": frozenset(),
    "token_exchange": frozenset({"token_endpoint"}),
}  # fmt: skip
"""What each kind of credential needs to say in public."""
_ADDRESSES = frozenset({"issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint"})
_OAUTH = _ADDRESSES | {"client_id", "scope", "resource"}


class _Schema(msgspec.Struct, frozen=True):
    properties: dict[str, msgspec.Raw] = {}


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    input_schema: _Schema


def checked(upstream_id: str, owner: str, request: CreateUpstream) -> Upstream:
    """The upstream that ``request`` asks for, without what it offers and without secrets.

    Raises InvalidInput naming the rule, and NotAllowed for what only operators of the system may ask for.
    """
    name = naming.checked_name(request.name)
    upstream = Upstream(
        id=upstream_id, name=name, slug=naming.slug_of(name), url=_url(request), era=request.era or "modern",
        protocol_version="", owner=owner, visibility=request.visibility,
        team=settled_team(request.actor, request.visibility, request.team), reachable=False,
        transport=request.transport, description=naming.checked_description(request.description),
        credential=_credential(request), tls=_tls(request), command=_command(request), limits=_limits(request.limits),
        rest=request.rest, wanted_era=request.era,
    )  # fmt: skip
    if request.transport == "rest":
        return _rest(upstream, request)
    if request.rest or request.definitions:
        raise InvalidRegistration("only upstreams of the kind rest bring their definitions along", field="definitions")
    return upstream


def check_secrets(credential: Credential, secrets: Secrets, command: Command | None) -> None:
    """The secrets fit what they belong to; raises InvalidRegistration, which never shows one."""
    unknown = secrets.credential.keys() - _SECRETS[credential.kind]
    if unknown:
        raise InvalidRegistration(
            f"a credential of the kind {credential.kind} has no secret {min(unknown)[:40]}", field="credential"
        )
    for value in secrets.credential.values():
        if len(value) > MAX_TEXT or any(ord(each) < 32 or ord(each) == 127 for each in value):  # noqa: PLR2004 - ASCII
            raise InvalidRegistration(
                f"a secret is at most {MAX_TEXT} characters, none of them a control character", field="credential"
            )
    if secrets.environment and command is None:
        raise InvalidRegistration("only a command has an environment", field="environment")
    _check_environment(secrets.environment)


def needed_secrets(credential: Credential) -> frozenset[str]:
    """The secrets without which a credential is of no use."""
    return _SECRETS[credential.kind] if credential.kind in {"header", "basic", "client_credentials"} else frozenset()


def shown(upstream: Upstream) -> Upstream:
    """The upstream as it may be shown: nothing sealed."""
    command = upstream.command
    return msgspec.structs.replace(
        upstream,
        credential=msgspec.structs.replace(upstream.credential, sealed=""),
        command=None if command is None else msgspec.structs.replace(command, sealed_environment=""),
    )


def same_place(one: Upstream, other: Upstream) -> bool:
    """Whether two registrations lead to the same server, so that what was accepted of it still counts."""
    return (one.transport, one.url, _argv(one)) == (other.transport, other.url, _argv(other))


def _argv(upstream: Upstream) -> tuple[str, ...]:
    return () if upstream.command is None else upstream.command.argv


def _url(request: CreateUpstream) -> str:
    if request.transport in OVER_HTTP:
        return naming.checked_url(request.url)
    if request.transport == "worker":
        if _WORKER.fullmatch(request.url) is None:
            raise InvalidUrl("the url of a worker is worker://<name>, names of A-Z a-z 0-9 _ - .", field="url")
        return request.url
    if request.url:
        raise InvalidUrl(f"an upstream of the kind {request.transport} has no url", field="url")
    return ""


def _credential(request: CreateUpstream) -> Credential:
    given = request.credential
    if given.kind != "none" and request.transport not in OVER_HTTP:
        raise InvalidRegistration(f"an upstream of the kind {request.transport} takes no credential",
                                  field="credential")  # fmt: skip
    missing = {name for name in _PUBLIC[given.kind] if not given.public.get(name)}
    if missing:
        raise InvalidRegistration(f"a credential of the kind {given.kind} needs {min(missing)}", field="credential")
    if len(given.public) > MAX_ENTRIES or any(
        len(text) > MAX_TEXT or not text.isprintable() for entry in given.public.items() for text in entry
    ):
        raise InvalidRegistration("what a credential says in public is printable and short", field="credential")
    if given.kind == "none" and given.public:
        raise InvalidRegistration("no credential has nothing to say", field="credential")
    if given.kind == "header":
        name = given.public.get("name", "Authorization")
        if _HEADER.fullmatch(name) is None or name.lower() in _OWN_HEADERS or name.lower().startswith("mcp-"):
            raise InvalidRegistration("this header is no place for a credential", field="credential", name=name[:64])
    if given.kind == "basic" and ":" in given.public["user"]:
        raise InvalidRegistration("the user of basic authentication has no colon (RFC 7617)", field="credential")
    for name in _ADDRESSES & given.public.keys():
        naming.checked_url(given.public[name])
    if given.kind == "oauth":
        _check_oauth(given.public)
    return Credential(given.kind, given.public)


def _check_oauth(public: dict[str, str]) -> None:
    """Nothing, the issuer, or both endpoints are said of an authorization server, and nothing that nobody reads."""
    if unknown := public.keys() - _OAUTH:
        raise InvalidRegistration(f"a credential of the kind oauth knows no {min(unknown)[:40]}", field="credential")
    said = {"authorization_endpoint", "token_endpoint"} & public.keys()
    if len(said) == 1:
        raise InvalidRegistration("authorization_endpoint and token_endpoint are said together", field="credential")
    if said and "client_id" not in public:
        raise InvalidRegistration("endpoints that are not found out need a client_id", field="credential")


def _tls(request: CreateUpstream) -> Tls | None:
    tls = request.tls
    if tls is None or tls == Tls():
        return None
    if request.transport not in OVER_HTTP:
        raise InvalidRegistration(f"an upstream of the kind {request.transport} has no TLS settings", field="tls")
    require(request.actor, SYSTEM_PERMISSION)  # files of the machine, and whether anybody is verified
    for path in (tls.ca_bundle, tls.certfile, tls.keyfile):
        if path and not _is_path(path):
            raise InvalidRegistration("files of TLS are named by absolute paths", field="tls")
    if tls.keyfile and not tls.certfile:
        raise InvalidRegistration("a key of TLS goes with a certificate", field="tls")
    return tls


def _command(request: CreateUpstream) -> Command | None:
    command = request.command
    if request.transport != "stdio":
        if command is not None:
            raise InvalidRegistration("only upstreams of the kind stdio have a command", field="command")
        return None
    require(request.actor, SYSTEM_PERMISSION)  # it runs whatever it is told to
    if command is None or not command.argv or not command.argv[0]:
        raise InvalidRegistration("an upstream of the kind stdio needs a command", field="command")
    if len(command.argv) > MAX_ARGUMENTS or any(len(each) > MAX_TEXT or "\0" in each for each in command.argv):
        raise InvalidRegistration(
            f"a command has at most {MAX_ARGUMENTS} arguments of at most {MAX_TEXT} characters", field="command"
        )
    if command.directory and not _is_path(command.directory):
        raise InvalidRegistration("the directory of a command is an absolute path", field="command")
    _check_environment(command.environment)
    fits = (
        16 * 2**20 <= command.memory <= 2**40
        and 0.01 <= command.cpu <= 1024  # noqa: PLR2004 - cores
        and 1 <= command.idle_seconds <= 7 * 86400
    )
    if not fits:
        raise InvalidRegistration(
            "a command has 16 MiB of memory or more, 0.01 cores or more, and ends after 1 s to 7 days", field="command"
        )
    return msgspec.structs.replace(command, sealed_environment="")


def _check_environment(environment: dict[str, str]) -> None:
    for name, value in environment.items():
        if _VARIABLE.fullmatch(name) is None or "\0" in value or len(value) > MAX_TEXT:
            raise InvalidRegistration(
                f"a variable has a name of A-Z a-z 0-9 _ and at most {MAX_TEXT} characters", field="environment"
            )
    if len(environment) > MAX_ENTRIES:
        raise InvalidRegistration(f"an environment has at most {MAX_ENTRIES} variables", field="environment")


def _limits(limits: Limits) -> Limits:
    for name, value, most in (
        ("concurrency", limits.concurrency, 10_000),
        ("idle_timeout", limits.idle_timeout, 86_400),
        ("call_timeout", limits.call_timeout, 86_400),
    ):
        if value is not None and not 0 < value <= most:
            raise InvalidRegistration(f"{name} is more than 0 and at most {most}", field="limits")
    return limits


def _rest(upstream: Upstream, request: CreateUpstream) -> Upstream:
    """A REST upstream has what its registration says, and is reached only when one of its tools is called."""
    if not request.definitions or len(request.rest) > MAX_REST_CALLS:
        raise InvalidRegistration(f"a REST upstream has 1 to {MAX_REST_CALLS} tools", field="definitions")
    collected = Collected("the registration", modern=False)
    try:
        for raw in request.definitions:
            collected.add("tool", bytes(raw))
    except UpstreamFailed as error:
        raise InvalidRegistration(error.detail, field="definitions") from None
    tools: tuple[Definition, ...] = collected.of("tool")
    odd = {tool.name for tool in tools} ^ request.rest.keys()
    if odd:
        raise InvalidRegistration("each tool of a REST upstream has one call, and each call one tool",
                                  field="rest", name=min(odd)[:128])  # fmt: skip
    for tool in tools:
        try:
            check_schema(tool)
            check_call(request.rest[tool.name], _arguments(tool))
        except InvalidInput as error:
            raise InvalidRegistration(f"{tool.name}: {error.detail}", field="rest") from None
    return msgspec.structs.replace(
        upstream, era="modern", protocol_version=REST_REVISION, reachable=True, tools=tools,
        capabilities=msgspec.Raw(b'{"tools":{}}'),
    )  # fmt: skip


def _arguments(tool: Definition) -> set[str]:
    """The names of a tool's arguments, as its schema tells them."""
    try:
        return set(msgspec.json.decode(tool.definition, type=_Tool).input_schema.properties)
    except msgspec.DecodeError:
        raise InvalidRegistration("the schema of a tool names its arguments", field="definitions") from None


def _is_path(path: str) -> bool:
    return PurePosixPath(path).is_absolute() and path.isprintable() and len(path) <= MAX_TEXT
