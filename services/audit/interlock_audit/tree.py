"""The stored tree: its frontier, its roots at any size, the hashes of proofs; and whether it is what was signed."""

from collections.abc import Sequence

from interlock_audit.errors import TreeInconsistent
from interlock_audit.store import Store
from interlock_common.transparency.merkle import Frontier
from interlock_common.transparency.note import NoteInvalid, Verifier, open_checkpoint
from interlock_common.transparency.tiles import frontier_at, range_hash, tiles_for


async def frontier(store: Store, size: int) -> Frontier:
    """The right edge of the first ``size`` leaves; TreeInconsistent when rows are missing."""
    contents = {(tile.level, tile.number): await store.tile(tile) for tile in tiles_for([(0, size)], size)}
    try:
        return frontier_at(size, contents)
    except IndexError:
        raise TreeInconsistent(f"the stored tree lacks hashes of its first {size} leaves", size=size) from None


async def hashes(store: Store, ranges: Sequence[tuple[int, int]], size: int) -> tuple[str, ...]:
    """The roots over ranges of leaves, in hex, as proofs carry them."""
    contents = {(tile.level, tile.number): await store.tile(tile) for tile in tiles_for(ranges, size)}
    try:
        return tuple(range_hash(low, high, contents).hex() for low, high in ranges)
    except IndexError:
        raise TreeInconsistent(f"the stored tree lacks hashes of its first {size} leaves", size=size) from None


async def check_signed(store: Store, note: str, verifier: Verifier, size: int) -> None:
    """Make sure that the stored tree of ``size`` leaves continues the one that ``note`` signed."""
    try:
        head = open_checkpoint(note, verifier)
    except NoteInvalid as error:
        raise TreeInconsistent(f"the last checkpoint cannot be verified: {error}") from None
    if size < head.size:
        raise TreeInconsistent(
            f"the stored tree has {size} records, the last checkpoint signed {head.size}", stored=size, signed=head.size
        )
    if (await frontier(store, head.size)).root() != head.root:
        raise TreeInconsistent(
            f"the first {head.size} stored records are not those of the last checkpoint", signed=head.size
        )
