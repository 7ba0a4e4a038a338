"""The audit records of the edge: an intent before a call leaves, an outcome after, a refusal where there was none."""

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import structlog
from opentelemetry.trace import SpanKind

from interlock_common import telemetry
from interlock_common.audit_log import AuditLog
from interlock_common.clock import Clock
from interlock_common.errors import Unavailable
from interlock_common.messages.audit import Action, CallIntent, CallOutcome, Refusal
from interlock_common.messages.subjects import audit_batch
from interlock_gateway.caller import Caller
from interlock_gateway.offers import Route

_log = structlog.get_logger()

_MAX_TEXT = 256
"""Characters of what a caller wrote that a refusal repeats: nobody fills the record with a body."""

type Outcome = Literal["ok", "tool_error", "input_required", "denied", "failed", "cancelled", "revoked"]

_PUBLISH_SPAN = f"publish {audit_batch('gateway')}"


@cache
def _attributes(method: str, outcome: Outcome) -> dict[str, str]:
    """Few methods, few outcomes: made once each."""
    return {telemetry.MCP_METHOD: method, telemetry.OUTCOME: outcome}


@dataclass(slots=True)
class CallRecord:
    """The open record of one call, until its outcome is known."""

    intent: str
    method: str
    begun: float
    trace_id: str
    span_id: str
    verdicts: tuple[str, ...] = ()


class Recorder:
    """Writes the records of one edge; arguments appear only as a digest under the deployment's key."""

    def __init__(
        self, log: AuditLog, clock: Clock, digest_key: bytes, revocation_revision: Callable[[], int],
        revocations_stale: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self._log = log
        self._clock = clock
        self._digest_key = digest_key
        self._revocation_revision = revocation_revision
        self._revocations_stale = revocations_stale

    async def intent(
        self, caller: Caller, route: Route, original: str, payload: bytes, *,
        method: str, server_id: str | None, peer: str,
    ) -> CallRecord:  # fmt: skip
        """Make the intent durable; raises Unavailable when it could not be, and the call must not leave then."""
        trace_id, span_id = telemetry.current_ids()
        record = CallRecord(self._new_id(), method, self._clock.monotonic(), trace_id, span_id)
        intent = CallIntent(
            id=record.intent,
            at=self._now(),
            principal=caller.principal,
            method=method,
            tool=original,
            upstream=route.upstream.name,
            trace_id=trace_id,
            span_id=span_id,
            token_id=caller.token_id if caller.has_token else None,
            certificate=None if caller.certificate is None else caller.certificate.fingerprint,
            server_id=server_id,
            arguments="hmac-sha256:" + hmac.digest(self._digest_key, payload, "sha256").hex(),
            peer=peer,
            revocation_seq=self._revocation_revision(),
            revocations_stale=self._revocations_stale(),
            definition=route.definition.digest,
        )
        with telemetry.span(_PUBLISH_SPAN, SpanKind.PRODUCER):
            await self._log.record(intent)
        return record

    def outcome(self, record: CallRecord, outcome: Outcome, *, size: int = 0, reason: str = "") -> None:
        """Record how the call ended; it rides along with the next batch."""
        seconds = self._clock.monotonic() - record.begun
        telemetry.CALL_DURATION.record(seconds, _attributes(record.method, outcome))
        self._soon(CallOutcome(
            id=self._new_id(),
            at=self._now(),
            intent=record.intent,
            outcome=outcome,
            ms=round(seconds * 1000, 3),
            bytes=size,
            reason=reason,
            verdicts=record.verdicts,
            trace_id=record.trace_id,
            span_id=record.span_id,
        ))  # fmt: skip

    def refusal(
        self, reason: str, *, status: int, method: str, target: str, caller: Caller | None, peer: str,
        certificate: str | None = None,
    ) -> None:  # fmt: skip
        """Record a request that got no further, with the fingerprint of the certificate that it showed."""
        trace_id, span_id = telemetry.current_ids()
        self._soon(Refusal(
            id=self._new_id(),
            at=self._now(),
            reason=reason[:_MAX_TEXT],
            status=status,
            method=method[:_MAX_TEXT],
            target=target[:_MAX_TEXT],
            principal=caller.principal if caller else "",
            token_id=caller.token_id if caller and caller.has_token else None,
            peer=peer,
            trace_id=trace_id,
            span_id=span_id,
            certificate=certificate,
        ))  # fmt: skip

    def noticed(self, action: str, actor: str, target: str, detail: dict[str, object]) -> None:
        """Record what was passed over, though the request went on."""
        trace_id, span_id = telemetry.current_ids()
        self._soon(Action(
            id=self._new_id(), at=self._now(), action=action, actor=actor[:_MAX_TEXT], target=target[:_MAX_TEXT],
            detail=detail, trace_id=trace_id, span_id=span_id,
        ))  # fmt: skip

    def _soon(self, record: CallOutcome | Refusal | Action) -> None:
        try:
            self._log.record_soon(record)
        except Unavailable as error:
            _log.error("audit record dropped", kind=type(record).__name__, record_id=record.id, reason=error.detail)

    def _now(self) -> int:
        return int(self._clock.time() * 1000)

    def _new_id(self) -> str:
        """Sorts by time, and cannot be guessed."""
        return f"{self._now():012x}{os.urandom(10).hex()}"
