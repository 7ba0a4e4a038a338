"""Who may say what on the bus: the one table from which the server's permissions are rendered.

Each service publishes its own events and audit batches, the requests it makes and the API calls of the
resources it owns or mirrors; it subscribes its own requests and its own inbox. Nothing else.
"""

import json
from collections.abc import Iterable

import msgspec

from interlock_common.messages import resources, subjects
from interlock_common.messages.resources import Bucket, Stream

SERVICES: tuple[str, ...] = ("auth", "gateway", "catalog", "connector", "plugins", "certs", "audit")
OPERATOR = "operator"
WORKER = "worker"
"""Any process that answers as an upstream on the bus."""
BUS_ADMIN = "bus-admin"

CALLS: dict[str, tuple[str, ...]] = {
    "gateway": (
        "svc.auth.>", "svc.catalog.>", "svc.plugins.>", "svc.audit.>", subjects.CERTS_LEAF_LIST,
        subjects.CERTS_LEAF_REVOKE, subjects.CERTS_IDENTITY_REVOKE, subjects.CERTS_IDENTITY_REINSTATE,
        subjects.CERTS_AUTHORITY_STATUS, subjects.CERTS_AUTHORITY_ROTATE, subjects.CERTS_CERTIFICATE_SUCCEED,
    ),
    "catalog": (subjects.AUTH_TOKEN_ASSERTION,),
}  # fmt: skip
"""Requests that a service makes of others, besides the renewal of its own leaf."""

MIRRORS: dict[str, tuple[Bucket, ...]] = {
    "gateway": (
        resources.REVOCATIONS, resources.SIGNING_KEYS, resources.PRINCIPALS, resources.TOKEN_SCOPES, resources.ISSUERS,
        resources.IDENTITIES, resources.CATALOG, resources.GRANTS, resources.BINDINGS, resources.TRUST,
        resources.REVOKED_CERTIFICATES, resources.CERTIFICATE_SUCCESSORS,
    ),
    "auth": (resources.TRUST,),
    "catalog": (resources.TRUST,),
    "connector": (resources.CATALOG, resources.TRUST),
    "plugins": (resources.TRUST,),
    "audit": (resources.TRUST,),
}  # fmt: skip
"""Buckets that a service reads besides its own."""

CONSUMES: dict[str, tuple[Stream, ...]] = {"audit": (resources.AUDIT, resources.EVENTS)}
"""Streams that a service reads through durable consumers."""

FOLLOWS: dict[str, tuple[Stream, ...]] = {"gateway": (resources.SESSION_MESSAGES,)}
"""Streams that a service reads through ordered consumers, which leave nothing behind."""

_ASKS_UPSTREAMS = ("mcp.connector.*", "mcp.worker.>", "mcp.exchange.*", subjects.MCP_CHANGED)
_ASKERS = (f"{subjects.inbox_prefix('gateway')}.>", f"{subjects.inbox_prefix('catalog')}.>")

SAYS: dict[str, tuple[str, ...]] = {
    "gateway": (
        *_ASKS_UPSTREAMS, subjects.MCP_SESSIONS, "mcp.edge.>", subjects.MCP_CANCEL, subjects.LIMITS_USAGE,
        subjects.REVOCATION_CONFIRMED, *_ASKERS,
    ),
    "auth": (subjects.REVOCATION_HEARTBEAT,),
    "catalog": _ASKS_UPSTREAMS,
    "connector": (subjects.MCP_CHANGED, *_ASKERS),
}  # fmt: skip
"""MCP messages that a service publishes: to upstreams on the bus, between edges, as answers of an upstream."""

HEARS: dict[str, tuple[str, ...]] = {
    "gateway": (
        "mcp.edge.>", subjects.MCP_CANCEL, "mcp.exchange.*", "mcp.connector.*", subjects.MCP_CHANGED,
        subjects.LIMITS_USAGE, subjects.REVOCATION_HEARTBEAT,
    ),
    "auth": (subjects.REVOCATION_CONFIRMED,),
    "catalog": (subjects.MCP_CHANGED,),
    "connector": ("mcp.connector.*", "mcp.exchange.*"),
}  # fmt: skip
"""MCP messages that a service takes; an edge answers as a connector for the tunnels it holds."""

MAX_PAYLOAD = 8 * 1024 * 1024
"""Bytes of one message: room for the results that plugins look at (4 MiB) in their envelope."""

_REPLY_WINDOW = "35s"  # longer than the longest hook call (30 s)


class Access(msgspec.Struct, frozen=True):
    """What one identity may publish and subscribe."""

    identity: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def spiffe_id(trust_domain: str, identity: str) -> str:
    """The URI SAN that is an identity's name everywhere (SPIFFE-ID, section 2)."""
    return f"spiffe://{trust_domain}/svc/{identity}"


def _reads_bucket(bucket: Bucket) -> Iterable[str]:
    stream = f"KV_{bucket.name}"
    yield from _inspects_stream(stream)
    yield f"$JS.API.CONSUMER.CREATE.{stream}"
    yield f"$JS.API.CONSUMER.CREATE.{stream}.>"
    yield f"$JS.API.CONSUMER.DELETE.{stream}.>"
    yield f"$JS.API.DIRECT.GET.{stream}.>"
    yield f"$JS.FC.{stream}.>"


def _inspects_stream(stream: str) -> Iterable[str]:
    yield f"$JS.API.STREAM.INFO.{stream}"
    yield f"$JS.API.CONSUMER.INFO.{stream}.>"


def _owns_bucket(bucket: Bucket) -> Iterable[str]:
    yield f"$JS.API.STREAM.CREATE.KV_{bucket.name}"
    yield f"$JS.API.STREAM.UPDATE.KV_{bucket.name}"
    yield f"$KV.{bucket.name}.>"
    yield from _reads_bucket(bucket)


def _owns_stream(stream: Stream) -> Iterable[str]:
    yield f"$JS.API.STREAM.CREATE.{stream.name}"
    yield f"$JS.API.STREAM.UPDATE.{stream.name}"
    yield f"$JS.API.STREAM.INFO.{stream.name}"


def _consumes(stream: Stream) -> Iterable[str]:
    yield from _inspects_stream(stream.name)
    yield f"$JS.API.CONSUMER.CREATE.{stream.name}.>"
    yield f"$JS.API.CONSUMER.DURABLE.CREATE.{stream.name}.>"
    yield f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.>"
    yield f"$JS.API.STREAM.MSG.GET.{stream.name}"
    yield f"$JS.ACK.{stream.name}.>"


def _follows(stream: Stream) -> Iterable[str]:
    yield from _inspects_stream(stream.name)
    yield f"$JS.API.CONSUMER.CREATE.{stream.name}"
    yield f"$JS.API.CONSUMER.CREATE.{stream.name}.>"
    yield f"$JS.API.CONSUMER.DELETE.{stream.name}.>"
    yield f"$JS.FC.{stream.name}.>"


def _answers(name: str) -> Iterable[str]:
    """The inboxes of those who ask ``name``.

    ``allow_responses`` alone is not enough: a server that reloads forgets which replies are due, and so loses
    every request that is being answered at that moment. Inbox names are random, so none can be guessed.
    """
    for caller in SERVICES:
        asked = {subject.split(".")[1] for subject in (*CALLS.get(caller, ()), subjects.leaf_renew(caller))}
        if name in asked:
            yield f"{subjects.inbox_prefix(caller)}.>"


def _service(name: str) -> Access:
    publish: list[str] = [
        f"evt.{name}.>",
        subjects.audit_batch(name),
        subjects.leaf_renew(name),
        subjects.trust_confirm(name),
        "$JS.API.INFO",
        *CALLS.get(name, ()),
        *_answers(name),
        *SAYS.get(name, ()),
    ]
    for bucket in resources.BUCKETS:
        if bucket.owner == name:
            publish += _owns_bucket(bucket)
    for bucket in MIRRORS.get(name, ()):
        publish += _reads_bucket(bucket)
    for stream in resources.STREAMS:
        if stream.owner == name:
            publish += _owns_stream(stream)
    for stream in CONSUMES.get(name, ()):
        publish += _consumes(stream)
    for stream in FOLLOWS.get(name, ()):
        publish += _follows(stream)
    return Access(
        identity=name,
        publish=tuple(dict.fromkeys(publish)),
        subscribe=(f"svc.{name}.> {name}", f"{subjects.inbox_prefix(name)}.>", "$SRV.>", *HEARS.get(name, ())),
    )


def _worker() -> Access:
    """An upstream on the bus: takes calls and answers them, and learns nothing else."""
    return Access(
        identity=WORKER,
        publish=(*_ASKERS, subjects.MCP_CHANGED),
        subscribe=("mcp.worker.>", f"{subjects.inbox_prefix(WORKER)}.>", "$SRV.>"),
    )


def _operator() -> Access:
    """A person with the ``nats`` command: sees streams, buckets and services, changes nothing."""
    publish = ["$SRV.>", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"]
    publish += [
        "$JS.API.STREAM.INFO.*",
        "$JS.API.CONSUMER.NAMES.*",
        "$JS.API.CONSUMER.LIST.*",
        "$JS.API.CONSUMER.INFO.>",
    ]
    for bucket in resources.BUCKETS:
        if bucket not in {resources.SESSIONS, resources.UPSTREAM_SESSIONS, resources.GRANTS}:  # their users' business
            publish += _reads_bucket(bucket)
    inbox = f"{subjects.inbox_prefix(OPERATOR)}.>"
    return Access(
        identity=OPERATOR,
        publish=tuple(dict.fromkeys([*publish, "$JS.API.CONSUMER.CREATE.AUDIT.>", "$JS.API.CONSUMER.CREATE.EVENTS.>",
                                     "$JS.API.STREAM.MSG.GET.AUDIT", "$JS.API.STREAM.MSG.GET.EVENTS"])),
        subscribe=("audit.>", "evt.>", inbox),
    )  # fmt: skip


TABLE: tuple[Access, ...] = (*map(_service, SERVICES), _worker(), _operator())


def render_accounts(trust_domain: str) -> str:
    """The ``accounts``, ``system_account`` and ``max_payload`` of a nats-server configuration."""
    users = ",\n".join(_render_user(access, trust_domain) for access in TABLE)
    admin = json.dumps(spiffe_id(trust_domain, BUS_ADMIN))
    return (
        f"accounts {{\n  INTERLOCK: {{\n    jetstream: enabled\n    users: [\n{users}\n    ]\n  }}\n"
        f"  SYS: {{\n    users: [ {{ user: {admin} }} ]\n  }}\n}}\nsystem_account: SYS\nmax_payload: {MAX_PAYLOAD}\n"
    )


def _render_user(access: Access, trust_domain: str) -> str:
    user = json.dumps(spiffe_id(trust_domain, access.identity))
    return (
        f"      {{\n        user: {user}\n        permissions: {{\n"
        f"          publish: {{ allow: {_render_list(access.publish)} }}\n"
        f"          subscribe: {{ allow: {_render_list(access.subscribe)} }}\n"
        f'          allow_responses: {{ max: 1, expires: "{_REPLY_WINDOW}" }}\n        }}\n      }}'
    )


def _render_list(entries: tuple[str, ...]) -> str:
    lines = "".join(f"\n            {json.dumps(entry)}" for entry in entries)
    return f"[{lines}\n          ]"
