"""Audit records, and what audit answers about them.

A record is one line of JSON and the leaf of the tree is the exact bytes its author produced. A batch is
newline-delimited records published to ``audit.<service>`` with ``Nats-Msg-Id: <author>/<number>``, where the
author is ``<service>-<instance>`` and the number counts its batches from 1 without a gap.
"""

from typing import Any, Literal

import msgspec

from interlock_common.messages.common import Actor


class CallIntent(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="call.intent"):
    """What is about to happen, durable before the call leaves the edge.

    ``tool`` is what the call is for, as the upstream knows it: a tool or prompt by its name, a resource by its URI.
    ``arguments`` is a keyed digest (``hmac-sha256:<hex>``) of the raw arguments, never the arguments.
    ``at`` is in milliseconds since the epoch. ``revocation_seq`` is how far revocations had come at the edge, and
    ``revocations_stale`` that nobody had confirmed for a while that none is missing.
    """

    id: str
    at: int
    principal: str
    method: str
    tool: str
    upstream: str
    trace_id: str = ""
    span_id: str = ""
    token_id: str | None = None
    certificate: str | None = None
    server_id: str | None = None
    arguments: str | None = None
    peer: str = ""
    revocation_seq: int = 0
    definition: str = ""
    revocations_stale: bool = False


class CallOutcome(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="call.outcome"):
    """How a call ended; ``intent`` is the id of its intent, ``ms`` the time it took."""

    id: str
    at: int
    intent: str
    outcome: Literal["ok", "tool_error", "input_required", "denied", "failed", "cancelled", "revoked"]
    ms: float
    bytes: int = 0
    reason: str = ""
    verdicts: tuple[str, ...] = ()
    trace_id: str = ""
    span_id: str = ""


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="call.refused"):
    """A request that was refused before there was an intent: who as far as known, what, and why."""

    id: str
    at: int
    reason: str
    method: str = ""
    target: str = ""
    principal: str = ""
    token_id: str | None = None
    peer: str = ""
    status: int = 0
    trace_id: str = ""
    span_id: str = ""
    certificate: str | None = None


class Action(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="action"):
    """Something a service did on the control plane, such as ``token.revoked`` or ``leaf.issued``."""

    id: str
    at: int
    action: str
    actor: str
    target: str
    detail: dict[str, Any] = {}
    trace_id: str = ""
    span_id: str = ""


class Gap(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="gap"):
    """Written by the audit service itself: batches that the stream lost, by stream sequence or by author."""

    id: str
    at: int
    first: int
    last: int
    author: str = ""


Record = CallIntent | CallOutcome | Refusal | Action | Gap


class ListRecords(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.audit.record.list``: newest first before ``before``, or oldest first from ``after`` on (for tail)."""

    actor: Actor
    limit: int = 50
    before: int | None = None
    after: int | None = None
    principal: str | None = None
    kind: str | None = None
    trace_id: str | None = None


class StoredRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record in the tree: ``index`` from 0, ``leaf`` the exact bytes as text, or in base64 if they are no UTF-8."""

    index: int
    id: str
    leaf: str
    base64: bool = False


class RecordList(msgspec.Struct, frozen=True):
    records: tuple[StoredRecord, ...]
    tree_size: int


class Checkpoint(msgspec.Struct, frozen=True):
    """A signed note (C2SP signed-note and tlog-checkpoint) and the key that verifies it (C2SP vkey form)."""

    note: str
    verifier_key: str


class AskInclusion(msgspec.Struct, frozen=True, omit_defaults=True):
    """``svc.audit.proof.inclusion``: for a record id; ``tree_size`` None means the newest checkpoint."""

    actor: Actor
    id: str
    tree_size: int | None = None


class InclusionProof(msgspec.Struct, frozen=True):
    """RFC 9162, section 2.1.3: sibling hashes in hex, from the leaf up."""

    record: StoredRecord
    tree_size: int
    hashes: tuple[str, ...]
    checkpoint: Checkpoint


class AskConsistency(msgspec.Struct, frozen=True):
    """``svc.audit.proof.consistency``: that the tree of ``old_size`` is a prefix of that of ``new_size``."""

    actor: Actor
    old_size: int
    new_size: int


class ConsistencyProof(msgspec.Struct, frozen=True):
    """RFC 9162, section 2.1.4: hashes in hex."""

    old_size: int
    new_size: int
    hashes: tuple[str, ...]
