"""NATS in and out: which subject is which story, and how the stories reach the bus. No logic."""

import uuid

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from nats.js.kv import KeyValue

from interlock_common import kv, telemetry
from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.audit import Action
from interlock_common.messages.catalog import (
    AcceptDefinition,
    CatalogItem,
    CreateServer,
    CreateUpstream,
    UpdateServer,
    UpdateUpstream,
    UpstreamChanged,
)
from interlock_common.messages.common import ById, Page
from interlock_common.messages.grants import ClaimGrant, Grant, RevokeGrant, StoreGrant
from interlock_common.messages.resources import CATALOG, GRANTS, Bucket
from interlock_common.subscriptions import Subscriptions
from interlock_gateway.catalog.grants import Grants
from interlock_gateway.catalog.noticing import Noticing
from interlock_gateway.catalog.publishing import digest_of
from interlock_gateway.catalog.servers import Servers
from interlock_gateway.catalog.upstreams import Upstreams

_READ_SECONDS = 5.0


def bind(bus: Bus, upstreams: Upstreams, servers: Servers, grants: Grants) -> None:
    """Say which story answers which subject."""
    bus.endpoint(subjects.CATALOG_UPSTREAM_CREATE, CreateUpstream, upstreams.create)
    bus.endpoint(subjects.CATALOG_UPSTREAM_LIST, Page, upstreams.list)
    bus.endpoint(subjects.CATALOG_UPSTREAM_GET, ById, upstreams.get)
    bus.endpoint(subjects.CATALOG_UPSTREAM_UPDATE, UpdateUpstream, upstreams.update)
    bus.endpoint(subjects.CATALOG_DEFINITION_ACCEPT, AcceptDefinition, upstreams.accept)
    bus.endpoint(subjects.CATALOG_UPSTREAM_DELETE, ById, upstreams.delete)
    bus.endpoint(subjects.CATALOG_UPSTREAM_REFRESH, ById, upstreams.refresh)
    bus.endpoint(subjects.CATALOG_SERVER_CREATE, CreateServer, servers.create)
    bus.endpoint(subjects.CATALOG_SERVER_LIST, Page, servers.list)
    bus.endpoint(subjects.CATALOG_SERVER_GET, ById, servers.get)
    bus.endpoint(subjects.CATALOG_SERVER_UPDATE, UpdateServer, servers.update)
    bus.endpoint(subjects.CATALOG_SERVER_DELETE, ById, servers.delete)
    bus.endpoint(subjects.CATALOG_GRANT_STORE, StoreGrant, grants.store)
    bus.endpoint(subjects.CATALOG_GRANT_CLAIM, ClaimGrant, grants.claim)
    bus.endpoint(subjects.CATALOG_GRANT_LIST, Page, grants.list)
    bus.endpoint(subjects.CATALOG_GRANT_REVOKE, RevokeGrant, grants.revoke)


async def ensure_buckets(bus: Bus) -> None:
    """Create the buckets that edges mirror, where they are missing."""
    try:
        for bucket in (CATALOG, GRANTS):
            await kv.ensure_bucket(bus, bucket)
    except (NatsError, JetStreamError) as error:
        raise _away(error) from error


async def published(bus: Bus, of: Bucket = CATALOG) -> dict[str, bytes]:
    """The keys that a bucket holds now, with the digests of their values; read in one go."""
    found: dict[str, bytes] = {}
    try:
        bucket = await bus.js.key_value(of.name)
        watcher = await bucket.watchall(ignore_deletes=True)  # pyright: ignore[reportUnknownMemberType] - its keywords are untyped
        try:
            # What comes last is no entry: it says that this is all there was.
            while isinstance(entry := await watcher.updates(_READ_SECONDS), KeyValue.Entry):
                found[entry.key] = digest_of(entry.value or b"")
        finally:
            await watcher.stop()
    except (NatsError, JetStreamError) as error:
        raise _away(error) from error
    return found


async def follow_changes(bus: Bus, subscriptions: Subscriptions, noticing: Noticing) -> None:
    """Have one replica notice each announcement of an upstream, on ``mcp.changed.<id>``."""

    def take(message: Msg) -> None:
        noticing.notice(message.subject.rpartition(".")[2], message.data)

    await subscriptions.add(subjects.MCP_CHANGED, take, queue=bus.service)


class BusOutlet:
    """The outlet of the stories, on the bus."""

    def __init__(self, bus: Bus, audit: AuditLog, clock: Clock) -> None:
        self._bus = bus
        self._audit = audit
        self._clock = clock

    async def put(self, key: str, item: CatalogItem) -> None:
        try:
            await kv.put(self._bus, CATALOG, key, item)
        except (NatsError, JetStreamError) as error:
            raise _away(error) from error

    async def delete(self, key: str) -> None:
        try:
            await kv.delete(self._bus, CATALOG, key)
        except (NatsError, JetStreamError) as error:
            raise _away(error) from error

    async def show_grant(self, key: str, grant: Grant) -> None:
        try:
            await kv.put(self._bus, GRANTS, key, grant)
        except (NatsError, JetStreamError) as error:
            raise _away(error, GRANTS) from error

    async def hide_grant(self, key: str) -> None:
        try:
            await kv.delete(self._bus, GRANTS, key)
        except (NatsError, JetStreamError) as error:
            raise _away(error, GRANTS) from error

    async def changed(self, event: UpstreamChanged) -> None:
        try:
            await self._bus.publish_event(subjects.EVT_UPSTREAM_CHANGED, event)
        except NatsError as error:
            raise Unavailable(f"an event cannot be published: {type(error).__name__}") from error

    async def record(self, action: str, actor: str, target: str, **detail: object) -> None:
        trace_id, span_id = telemetry.current_ids()
        at = int(self._clock.time() * 1000)
        await self._audit.record(Action(str(uuid.uuid4()), at, action, actor, target, detail, trace_id, span_id))


def _away(error: Exception, bucket: Bucket = CATALOG) -> Unavailable:
    return Unavailable(f"bucket {bucket.name} cannot be reached at the moment: {type(error).__name__}")
