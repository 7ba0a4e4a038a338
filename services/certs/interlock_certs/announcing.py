"""Telling what certs did: an audit record, which waits for the bus if need be, and an event if the bus is there."""

import secrets
from typing import Any, Literal

import msgspec
import structlog
from nats.errors import Error as NatsError

from interlock_certs.authority import Leaf
from interlock_common import telemetry
from interlock_common.audit_log import AuditLog
from interlock_common.bus import Bus
from interlock_common.clock import Clock
from interlock_common.errors import InterlockError, Unavailable
from interlock_common.messages import subjects
from interlock_common.messages.audit import Action
from interlock_common.messages.certs import (
    AuthorityRotated,
    LeafExpiring,
    LeafIssued,
    LeafRefused,
    LeafRevoked,
    Reason,
    RevokedCertificate,
    Step,
)
from interlock_common.messages.common import Actor

_log = structlog.get_logger()
_REFUSALS_A_MINUTE = 60
_MINUTE = 60.0


class Announcer:
    """The audit log and the events of certs. Refusals, which anybody can cause, are told at most once a second."""

    def __init__(self, bus: Bus, audit: AuditLog, clock: Clock) -> None:
        self._bus = bus
        self._audit = audit
        self._clock = clock
        self._refusals = 0
        self._minute = 0.0

    async def issued(self, leaf: Leaf, *, renewal: bool) -> None:
        telemetry.CERTIFICATES.add(1, {telemetry.OUTCOME: "renewed" if renewal else "issued"})
        detail = {"serial": leaf.serial, "fingerprint": leaf.fingerprint, "not_after": leaf.not_after.isoformat()}
        self._record("leaf.renewed" if renewal else "leaf.issued", leaf.identity, leaf.identity, detail)
        end = int(leaf.not_after.timestamp())
        await self._tell(
            subjects.EVT_LEAF_ISSUED, LeafIssued(leaf.identity, leaf.serial, leaf.fingerprint, end, renewal=renewal)
        )

    async def refused(self, identity: str, error: InterlockError) -> None:
        """Somebody who called itself ``identity`` got no leaf."""
        telemetry.CERTIFICATES.add(1, {telemetry.OUTCOME: "refused"})
        if not self._may_tell():
            return
        self._record("leaf.refused", identity, identity, {"code": error.code, "reason": error.detail})
        await self._tell(subjects.EVT_LEAF_REFUSED, LeafRefused(identity, error.code, error.detail))

    async def revoked(self, actor: Actor, certificate: RevokedCertificate) -> None:
        telemetry.CERTIFICATES.add(1, {telemetry.OUTCOME: "revoked"})
        detail = msgspec.to_builtins(certificate)
        self._record("leaf.revoked", actor.principal, certificate.subject or certificate.serial, detail)
        await self._tell(subjects.EVT_LEAF_REVOKED, LeafRevoked(
            certificate.subject, certificate.serial, certificate.issuer, certificate.fingerprint, certificate.reason
        ))  # fmt: skip

    def identity_revoked(self, actor: Actor, identity: str, reason: Reason) -> None:
        self._record("identity.revoked", actor.principal, identity, {"reason": reason})

    def identity_reinstated(self, actor: Actor, identity: str) -> None:
        self._record("identity.reinstated", actor.principal, identity, {})

    async def rotated(self, actor: Actor, step: Step, generation: int, bundle: int) -> None:
        detail = {"generation": generation, "bundle": bundle}
        self._record(f"authority.{step}", actor.principal, f"generation {generation}", detail)
        await self._tell(subjects.EVT_AUTHORITY_ROTATED, AuthorityRotated(step, generation, bundle))

    async def step_refused(self, actor: Actor, step: Step, reason: str) -> None:
        if self._may_tell():
            self._record("authority.refused", actor.principal, step, {"reason": reason})

    async def expiring(self, identity: str, serial: str, not_after: int, severity: Literal["warning", "error"]) -> None:
        self._record("leaf.expiring", "certs", identity, {"serial": serial, "severity": severity})
        await self._tell(subjects.EVT_LEAF_EXPIRING, LeafExpiring(identity, serial, not_after, severity))

    def _may_tell(self) -> bool:
        now = self._clock.monotonic()
        if now - self._minute > _MINUTE:
            self._minute, self._refusals = now, 0
        self._refusals += 1
        return self._refusals <= _REFUSALS_A_MINUTE

    def _record(self, action: str, actor: str, target: str, detail: dict[str, Any]) -> None:
        trace_id, span_id = telemetry.current_ids()
        now = int(self._clock.time() * 1000)
        try:
            self._audit.record_soon(Action(
                id=f"{now:012x}{secrets.token_hex(10)}",
                at=now,
                action=action,
                actor=actor[:256],
                target=target[:256],
                detail=detail,
                trace_id=trace_id,
                span_id=span_id,
            ))  # fmt: skip
        except Unavailable as error:
            _log.error("done without an audit record", action=action, target=target, reason=error.detail)
            raise

    async def _tell(self, subject: str, event: msgspec.Struct) -> None:
        try:
            await self._bus.publish_event(subject, event)
        except (Unavailable, NatsError) as error:  # it is done and recorded, whoever hears of it
            _log.info("done without an event", subject=subject, reason=str(error) or type(error).__name__)
