"""The NATS side of certs: renewals in, what was issued out."""

import secrets

import structlog
from nats.errors import Error as NatsError

from interlock_certs.authority import Leaf
from interlock_certs.issuing import Issuing
from interlock_common import kv, telemetry
from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages import resources, subjects
from interlock_common.messages.audit import Action
from interlock_common.messages.certs import BUNDLE_KEY, IssuedLeaf, LeafIssued, LeafList, RenewLeaf, TrustBundle
from interlock_common.messages.common import Empty

_log = structlog.get_logger()


def bind(bus: Bus, issuing: Issuing) -> None:
    """Answer the subjects of certs."""

    async def renew(subject: str, request: RenewLeaf) -> IssuedLeaf:
        # The server lets a service publish only the renewal subject that ends in its own name.
        return await issuing.renew(subject.rpartition(".")[2], request.csr)

    async def list_leaves(_request: Empty) -> LeafList:
        return await issuing.listing()

    bus.endpoint_with_subject(f"{subjects.CERTS_LEAF_RENEW}.*", RenewLeaf, renew)
    bus.endpoint(subjects.CERTS_LEAF_LIST, Empty, list_leaves)


async def publish_trust(bus: Bus, bundle_pem: bytes) -> None:
    """Tell everyone which roots count, unless the bucket says so already."""
    await kv.ensure_bucket(bus, resources.TRUST)
    trust = TrustBundle(bundle_pem.decode(), generation=1)
    if await kv.get(bus, resources.TRUST, BUNDLE_KEY, TrustBundle) != trust:
        await kv.put(bus, resources.TRUST, BUNDLE_KEY, trust)


class BusAnnouncer:
    """Tells the audit log of each leaf, which waits for the bus if need be, and the bus if it is there."""

    def __init__(self, bus: Bus, audit: AuditLog, clock: Clock) -> None:
        self._bus = bus
        self._audit = audit
        self._clock = clock

    async def issued(self, leaf: Leaf, *, renewal: bool) -> None:
        trace_id, span_id = telemetry.current_ids()
        now = int(self._clock.time() * 1000)
        detail = {"serial": leaf.serial, "fingerprint": leaf.fingerprint, "not_after": leaf.not_after.isoformat()}
        self._audit.record_soon(Action(
            id=f"{now:012x}{secrets.token_hex(10)}",
            at=now,
            action="leaf.renewed" if renewal else "leaf.issued",
            actor=leaf.identity,
            target=leaf.identity,
            detail=detail,
            trace_id=trace_id,
            span_id=span_id,
        ))  # fmt: skip
        event = LeafIssued(
            leaf.identity, leaf.serial, leaf.fingerprint, int(leaf.not_after.timestamp()), renewal=renewal
        )
        try:
            await self._bus.publish_event(subjects.EVT_LEAF_ISSUED, event)
        except (Unavailable, NatsError) as error:  # the leaf is issued and recorded, whoever hears of it
            _log.info("leaf issued without an event", identity=leaf.identity, reason=str(error) or type(error).__name__)
