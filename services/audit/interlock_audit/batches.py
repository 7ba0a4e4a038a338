"""From a delivered batch to the rows of its records; pure, and total: whatever was delivered becomes rows."""

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from interlock_common.messages.audit import Action, CallIntent, CallOutcome, Gap, Record, Refusal
from interlock_common.messages.subjects import audit_batch

MAX_RECORD = 0xFFFF
"""What a C2SP entry bundle can hold of one entry."""

_MAX_ID = 128
_MAX_MOMENT = 2**53
_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")
_MESSAGE_ID = re.compile(r"([a-z0-9-]{1,64}-[A-Za-z0-9_.-]{1,63})/([1-9][0-9]{0,17})")
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
_OWN_SERVICE = "audit"


@dataclass(frozen=True)
class Delivery:
    """A message of the stream; ``at`` is when the stream took it, ``reply`` where it is acknowledged."""

    sequence: int
    subject: str
    message_id: str
    data: bytes
    at: int
    reply: str = ""


@dataclass
class Entry:
    """A record on its way into the tree, with what the columns beside it say."""

    leaf: bytes
    id: str
    kind: str
    at: int
    service: str = _OWN_SERVICE
    principal: str = ""
    method: str = ""
    tool: str = ""
    trace_id: str = ""
    span_id: str = ""
    intent: str = ""
    stream_sequence: int = 0
    author: str = ""
    author_batch: int = 0


def author_of(delivery: Delivery) -> tuple[str, int]:
    """Author and number of a batch; ``("", 0)`` when the id is not of the contract or names another service."""
    match = _MESSAGE_ID.fullmatch(delivery.message_id)
    if match is None or not match[1].startswith(f"{service_of(delivery)}-"):
        return "", 0
    return match[1], int(match[2])


def service_of(delivery: Delivery) -> str:
    """Who published it: the bus lets each service publish its own subject only."""
    return delivery.subject.removeprefix(audit_batch(""))[:64]


def entries_of(delivery: Delivery) -> list[Entry]:
    """The records of a batch in order, attributed to the service whose subject carried them."""
    service = service_of(delivery)
    author, number = author_of(delivery)
    entries: list[Entry] = []
    for line in delivery.data.split(b"\n"):
        if not line:
            continue
        entry = _entry(line, f"{delivery.sequence}.{len(entries)}", delivery.at, service)
        entry.service, entry.stream_sequence = service, delivery.sequence
        entry.author, entry.author_batch = author, number
        entries.append(entry)
    return entries


def own_entry(record: Gap | Action) -> Entry:
    """A record that the audit service writes itself."""
    kind = "gap" if isinstance(record, Gap) else "action"
    return Entry(leaf=msgspec.json.encode(record), id=record.id, kind=kind, at=record.at)


def gap(first: int, last: int, at: int, author: str = "") -> Entry:
    """The record of lost batches, by stream sequence, or by number where there is an author."""
    return own_entry(Gap(id=uuid.uuid4().hex, at=at, first=first, last=last, author=author))


def action(name: str, target: str, at: int, detail: dict[str, Any]) -> Entry:
    """The record of something that befell the log."""
    return own_entry(Action(id=uuid.uuid4().hex, at=at, action=name, actor=_OWN_SERVICE, target=target, detail=detail))


def _entry(line: bytes, place: str, at: int, service: str) -> Entry:
    if len(line) > MAX_RECORD:
        digest = hashlib.sha256(line).hexdigest()
        oversize = action("record.oversize", service, at, {"bytes": len(line), "sha256": digest, "place": place})
        oversize.kind = "oversize"
        return oversize
    malformed = Entry(leaf=line, id=f"malformed.{place}", kind="malformed", at=at)
    try:
        record = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return malformed
    forged = isinstance(record, Gap)  # only the audit service names gaps, and never by way of the stream
    if forged or not 0 < len(record.id) <= _MAX_ID or "\0" in record.id or not 0 <= record.at < _MAX_MOMENT:
        return malformed
    return _indexed(line, record)


def _indexed(line: bytes, record: CallIntent | CallOutcome | Refusal | Action) -> Entry:
    kind = str(record.__struct_config__.tag)
    entry = Entry(leaf=line, id=record.id, kind=kind, at=record.at)
    if _TRACE_ID.fullmatch(record.trace_id):
        entry.trace_id = record.trace_id
        entry.span_id = record.span_id if _SPAN_ID.fullmatch(record.span_id) else ""
    match record:
        case CallIntent():
            entry.principal, entry.method, entry.tool = record.principal, record.method, record.tool
        case CallOutcome():
            entry.intent = _column(record.intent, _MAX_ID)
        case Refusal():
            entry.principal, entry.method, entry.tool = record.principal, record.method, record.target
        case Action():
            entry.principal, entry.method, entry.tool = record.actor, record.action, record.target
    entry.principal, entry.method, entry.tool = (
        _column(entry.principal, 320), _column(entry.method, 128), _column(entry.tool, 256)
    )  # fmt: skip
    return entry


def _column(text: str, width: int) -> str:
    """What a text column takes: PostgreSQL has no NUL, and widths are bounds."""
    return text.replace("\0", "\ufffd")[:width]
