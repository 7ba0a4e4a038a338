"""Verification of the audit log: from the gateway's API, or offline from its tiles.

Nothing the log says is believed but the signature of its key; everything else is computed again.
"""

import base64
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from interlock_common.messages.audit import (
    CallIntent,
    CallOutcome,
    Checkpoint,
    ConsistencyProof,
    Gap,
    InclusionProof,
    Record,
    RecordList,
    StoredRecord,
)
from interlock_common.transparency.merkle import (
    ProofInvalid,
    inclusion_ranges,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from interlock_common.transparency.note import NoteInvalid, TreeHead, Verifier, open_checkpoint
from interlock_common.transparency.tiles import (
    WIDTH,
    Tile,
    decode_entries,
    entries_path,
    split_hashes,
    tiles_of,
    width_at,
)

PAGE = 500
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class Api(Protocol):
    """What of the gateway's client is needed."""

    def get[T](self, path: str, answer_kind: type[T], /, **query: object) -> T: ...


@dataclass
class Report:
    """What was found; the log holds when there are no problems."""

    head: TreeHead | None = None
    records: int = 0
    proofs: int = 0
    consistent_with: int | None = None
    first_bad_index: int | None = None
    problems: list[str] = field(default_factory=list[str])
    gaps: list[str] = field(default_factory=list[str])
    open_intents: list[str] = field(default_factory=list[str])
    unreadable: int = 0

    def bad(self, problem: str, index: int | None = None) -> None:
        self.problems.append(problem)
        if index is not None and (self.first_bad_index is None or index < self.first_bad_index):
            self.first_bad_index = index


@dataclass(frozen=True)
class Seen:
    """The newest checkpoint that held the last time, which the log must continue."""

    key: str
    note: str


def leaf_of(record: StoredRecord) -> bytes:
    """The exact bytes of a record's leaf."""
    return base64.b64decode(record.leaf) if record.base64 else record.leaf.encode()


def verify_api(api: Api, key: Verifier | None, seen: Seen | None, proofs: int) -> tuple[Report, Seen | None]:
    """Check the log behind the gateway; the second value is what to keep for the next time, if all holds.

    Without ``key`` the key seen the last time counts, and the first time the one the log shows.
    """
    report = Report()
    checkpoint = api.get("/audit/checkpoint", Checkpoint)
    expected = key or Verifier.parse(seen.key if seen else checkpoint.verifier_key)
    if (head := _open(report, checkpoint.note, expected)) is None:
        return report, None
    hashes = _download(api, head.size, report)
    if len(hashes) == head.size:
        if root_of(hashes) != head.root:
            first = first_bad_index(hashes, head, lambda index: _proof(api, index, head.size))
            report.bad("the records do not add up to the signed root", first)
        _prove(api, head, hashes, proofs, report)
    if seen is not None and (old := _open_seen(report, seen, expected)) is not None:
        _continue(report, old, head, hashes)
        _consistent(api, report, old, head)
    return report, None if report.problems else Seen(str(expected), checkpoint.note)


def verify_tiles(directory: Path, key: Verifier, seen: Seen | None) -> tuple[Report, Seen | None]:
    """Check the log in a folder of tiles, without any connection."""
    report = Report()
    try:
        note = (directory / "checkpoint").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        report.bad(f"{directory} has no checkpoint that can be read")
        return report, None
    if (head := _open(report, note, key)) is None:
        return report, None
    hashes = _from_bundles(directory, head.size, report)
    _check_tiles(directory, hashes, head, report)
    if len(hashes) == head.size and root_of(hashes) != head.root:
        report.bad("the records do not add up to the signed root")
    if seen is not None and (old := _open_seen(report, seen, key)) is not None:
        _continue(report, old, head, hashes)
    return report, None if report.problems else Seen(str(key), note)


def first_bad_index(
    hashes: Sequence[bytes], head: TreeHead, prove: Callable[[int], Sequence[bytes] | None]
) -> int | None:
    """The first leaf that is not the signed one, found with a few of the log's own proofs.

    The proof of a leaf that holds vouches for the subtrees beside it; the first of those that is not what we
    computed has the culprit.
    """
    low, high = 0, head.size
    while low < high:
        proof = prove(low)
        if proof is None:
            return low
        try:
            verify_inclusion(hashes[low], low, head.size, proof, head.root)
        except ProofInvalid:
            return low
        beside = sorted(zip(inclusion_ranges(low, head.size), proof, strict=True))
        wrong = [(start, end) for (start, end), node in beside if low < start and root_of(hashes[start:end]) != node]
        if not wrong:
            return None
        low, high = wrong[0][0], min(high, wrong[0][1])
    return None


def _open(report: Report, note: str, key: Verifier) -> TreeHead | None:
    try:
        report.head = open_checkpoint(note, key)
    except NoteInvalid as error:
        report.bad(f"the checkpoint does not hold: {error}")
    return report.head


def _open_seen(report: Report, seen: Seen, key: Verifier) -> TreeHead | None:
    try:
        return open_checkpoint(seen.note, key)
    except NoteInvalid:
        report.bad("the checkpoint seen the last time was signed by another key")
    return None


def _download(api: Api, size: int, report: Report) -> list[bytes]:
    """The leaf hashes of the first ``size`` records, which are read on the way."""
    reading = Reading()
    hashes: list[bytes] = []
    while len(hashes) < size:
        page = api.get("/audit/records", RecordList, after=len(hashes), limit=PAGE).records
        if not page:
            report.bad(f"the log ends after {len(hashes)} of {size} signed records", len(hashes))
            break
        for record in page[: size - len(hashes)]:
            if record.index != len(hashes):
                report.bad(f"record {len(hashes)} is missing", len(hashes))
                return hashes
            leaf = leaf_of(record)
            hashes.append(leaf_hash(leaf))
            reading.read(record.index, leaf)
    reading.tell(report, len(hashes))
    return hashes


def _prove(api: Api, head: TreeHead, hashes: Sequence[bytes], proofs: int, report: Report) -> None:
    """Check the inclusion proofs of the newest records."""
    for index in range(max(0, head.size - proofs), head.size):
        proof = _proof(api, index, head.size)
        if proof is None:
            report.bad(f"record {index}: its id leads to another record", index)
            return
        try:
            verify_inclusion(hashes[index], index, head.size, proof, head.root)
        except ProofInvalid as error:
            report.bad(f"record {index}: {error}", index)
            return
        report.proofs += 1


def _proof(api: Api, index: int, size: int) -> Sequence[bytes] | None:
    """The log's inclusion proof of a record, None where it belongs to another."""
    (record,) = api.get("/audit/records", RecordList, after=index, limit=1).records
    answer = api.get(f"/audit/records/{record.id}/proof", InclusionProof, tree_size=size)
    if answer.record.index != index:
        return None  # an id used twice finds its first record only
    return [bytes.fromhex(node) for node in answer.hashes]


def _continue(report: Report, old: TreeHead, head: TreeHead, hashes: Sequence[bytes]) -> None:
    """The records of the checkpoint seen before are still the first ones."""
    if head.size < old.size:
        report.bad(f"the log shrank: {old.size} records were signed before, {head.size} now", head.size)
    elif len(hashes) >= old.size and root_of(hashes[: old.size]) != old.root:
        report.bad(f"the first {old.size} records are not those seen before")
    else:
        report.consistent_with = old.size


def _consistent(api: Api, report: Report, old: TreeHead, head: TreeHead) -> None:
    if old.size > head.size:
        return
    answer = api.get("/audit/consistency", ConsistencyProof, old_size=old.size, new_size=head.size)
    try:
        verify_consistency(old.size, head.size, old.root, head.root, [bytes.fromhex(node) for node in answer.hashes])
    except ProofInvalid as error:
        report.bad(f"the log does not continue the one seen before: {error}")


def _from_bundles(directory: Path, size: int, report: Report) -> list[bytes]:
    reading = Reading()
    hashes: list[bytes] = []
    for number in range((size + WIDTH - 1) // WIDTH):
        width = width_at(size, 0, number)
        try:
            leaves = list(decode_entries(_content(directory, entries_path(number, width), number, width)))
        except (OSError, ValueError) as error:
            report.bad(f"the records from {len(hashes)} on cannot be read: {error}", len(hashes))
            break
        for leaf in leaves[:width]:
            reading.read(len(hashes), leaf)
            hashes.append(leaf_hash(leaf))
        if len(leaves) < width:
            report.bad(f"record {len(hashes)} is missing", len(hashes))
            break
    reading.tell(report, len(hashes))
    return hashes


def _content(directory: Path, path: str, number: int, width: int) -> bytes:
    """A bundle as far as the checkpoint needs it; the full one serves where the partial one is gone."""
    partial = directory / path
    if width < WIDTH and not partial.exists():
        return (directory / entries_path(number, WIDTH)).read_bytes()
    return partial.read_bytes()


def _check_tiles(directory: Path, hashes: Sequence[bytes], head: TreeHead, report: Report) -> None:
    """Compare each tile with what its level should be; names the first leaf that differs."""
    level, nodes = 0, list(hashes)
    for tile in tiles_of(head.size):
        if tile.level > level:
            level = tile.level
            nodes = [root_of(chunk) for chunk in itertools.batched(nodes, WIDTH, strict=False) if len(chunk) == WIDTH]
        expected = nodes[tile.number * WIDTH : tile.number * WIDTH + tile.width]
        found = _tile(directory, tile)
        differing = (at for at in range(tile.width) if found[at : at + 1] != expected[at : at + 1])
        if (at := next(differing, None)) is not None:
            index = (tile.number * WIDTH + at) << (8 * tile.level)
            report.bad(f"{tile.path} does not match the records", index)
            return


def _tile(directory: Path, tile: Tile) -> list[bytes]:
    for path in (tile.path, Tile(tile.level, tile.number, WIDTH).path):
        try:
            return split_hashes((directory / path).read_bytes())[: tile.width]
        except (OSError, ValueError):
            continue
    return []


class Reading:
    """Reads the records on their way: gaps, and intents that nothing followed."""

    def __init__(self) -> None:
        self._intents: dict[str, int] = {}
        self._gaps: list[str] = []
        self._unreadable = 0

    def read(self, index: int, leaf: bytes) -> None:
        try:
            record = _decoder.decode(leaf)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._unreadable += 1
            return
        match record:
            case CallIntent():
                self._intents[record.id] = index
            case CallOutcome():
                self._intents.pop(record.intent, None)
            case Gap():
                whose = f"batches of {record.author}" if record.author else "messages of the stream"
                self._gaps.append(f"record {index}: {whose} {record.first} to {record.last} were lost")
            case _:
                pass

    def tell(self, report: Report, records: int) -> None:
        report.records, report.gaps, report.unreadable = records, self._gaps, self._unreadable
        report.open_intents = [f"record {index}: {intent}" for intent, index in self._intents.items()]


def pages(api: Api, after: int, query: dict[str, object]) -> Iterator[tuple[Iterable[StoredRecord], int]]:
    """Records from an index on, page by page, with the index to go on from; an empty page ends it."""
    while page := api.get("/audit/records", RecordList, after=after, limit=PAGE, **query).records:
        after = page[-1].index + 1
        yield page, after
