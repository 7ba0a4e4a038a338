"""What the audit record says of definitions: every version of each, in pieces that fit a message of the bus."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from interlock_gateway.catalog.pinning import Change, Pinned

MAX_TEXT = 32 * 1024
"""Bytes of a definition that are recorded; the digest is of all of it."""
MAX_PIECE = 128 * 1024

type Detail = dict[str, Any]


def pieces(changes: Iterable[Change]) -> Iterator[Detail]:
    """What changed, as details of records: ``added``, ``changed`` and ``removed``; at least one, which may be empty."""
    piece: dict[str, list[Detail]] = {}
    size = 0
    for change in changes:
        word, entry = _entry(change)
        length = len(msgspec.json.encode(entry))
        if piece and size + length > MAX_PIECE:
            yield dict(piece)
            piece, size = {}, 0
        piece.setdefault(word, []).append(entry)
        size += length
    yield dict(piece)


def _entry(change: Change) -> tuple[str, Detail]:
    if change.after is None:
        gone = change.before
        return "removed", {} if gone is None else {"kind": gone.kind, "name": gone.name, "digest": gone.digest}
    entry = version(change.after)
    if change.graded is not None:
        entry |= {"grade": change.graded.grade, "reasons": list(change.graded.reasons)}
    if change.before is None:
        return "added", entry
    return "changed", entry | {"before": change.before.digest}


def version(pin: Pinned) -> Detail:
    """One version of a definition: its digest, its text, and what was accepted in its place."""
    entry: Detail = {"kind": pin.kind, "name": pin.name, "digest": pin.digest, "standing": pin.standing}
    if pin.accepted_digest != pin.digest:
        entry["accepted"] = pin.accepted_digest
    entry["definition"] = pin.definition[:MAX_TEXT].decode(errors="replace")
    if len(pin.definition) > MAX_TEXT:
        entry["truncated"] = True
    return entry
