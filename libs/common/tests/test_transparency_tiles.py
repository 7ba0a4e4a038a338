"""Tiles name, hold and give back what the tree is made of."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock_common.transparency.merkle import consistency_ranges, inclusion_ranges, leaf_hash, root_of
from interlock_common.transparency.tiles import (
    Tile,
    decode_entries,
    encode_entries,
    entries_path,
    frontier_at,
    perfect_nodes,
    range_hash,
    split_hashes,
    tiles_for,
    tiles_of,
)

LEAVES = [leaf_hash(str(n).encode()) for n in range(70_000)]


def contents(tiles: set[Tile]) -> dict[tuple[int, int], list[bytes]]:
    """What the tiles hold, computed the slow way."""
    found: dict[tuple[int, int], list[bytes]] = {}
    for level, number, width in tiles:
        span = 1 << (8 * level)
        starts = range(number * 256 * span, (number * 256 + width) * span, span)
        found[level, number] = [root_of(LEAVES[at : at + span]) for at in starts]
    return found


def test_paths_are_those_of_the_specification() -> None:
    assert Tile(0, 1234067, 256).path == "tile/0/x001/x234/067"
    assert Tile(1, 0, 5).path == "tile/1/000.p/5"
    assert entries_path(273, 17) == "tile/entries/273.p/17"
    assert entries_path(1000, 256) == "tile/entries/x001/000"


def test_a_tree_that_grows_needs_only_the_tiles_at_its_edge() -> None:
    assert list(tiles_of(256)) == [Tile(0, 0, 256), Tile(1, 0, 1)]
    assert list(tiles_of(70_000, since=69_999)) == [Tile(0, 273, 112)]
    assert list(tiles_of(512, since=300)) == [Tile(0, 1, 256), Tile(1, 0, 2)]
    assert list(tiles_of(512, since=512)) == []


@settings(max_examples=20, deadline=None)  # the slow way takes its time
@given(st.integers(1, 70_000), st.data())
def test_proofs_come_out_of_tiles_alone(size: int, data: st.DataObject) -> None:
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    for low, high in (*inclusion_ranges(index, size), *consistency_ranges(old, size), (0, size)):
        held = contents({tile for tile in tiles_for([(low, high)], size) if tile.level < 2})
        if all(height < 16 for height, _ in perfect_nodes(low, high)):
            assert range_hash(low, high, held) == root_of(LEAVES[low:high])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 5000])
def test_a_frontier_is_restored_from_tiles(size: int) -> None:
    frontier = frontier_at(size, contents(tiles_for([(0, size)], size)))
    assert frontier.size == size
    assert frontier.root() == root_of(LEAVES[:size])
    frontier.append(LEAVES[size])
    assert frontier.root() == root_of(LEAVES[: size + 1])


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_entries_come_back_as_they_went_in(entries: list[bytes]) -> None:
    assert list(decode_entries(encode_entries(entries))) == entries


@pytest.mark.parametrize("cut", [b"\x00", b"\x00\x05abc"])
def test_cut_bundles_and_tiles_are_noticed(cut: bytes) -> None:
    with pytest.raises(ValueError, match="cut"):
        list(decode_entries(cut))
    with pytest.raises(ValueError, match="cut"):
        split_hashes(b"x" * 33)
