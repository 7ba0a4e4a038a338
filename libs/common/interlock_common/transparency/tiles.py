"""Tiles after C2SP tlog-tiles: names, contents, and hashes of any range of leaves computed from them.

Tile ``N`` of level ``L`` holds up to 256 hashes: nodes ``256 N …`` at height ``8 L`` of the tree.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from interlock_common.transparency.merkle import HASH_SIZE, Frontier, node_hash

WIDTH = 256
HEIGHT = 8
MAX_ENTRY = 0xFFFF
_GROUP = 1000


class Tile(NamedTuple):
    """A tile as far as it is filled: ``width`` is 256 for a full one."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """Where it lies below the root of the log: ``tile/<L>/<N>[.p/<W>]``."""
        return f"tile/{self.level}/{_digits(self.number)}{_partial(self.width)}"


def entries_path(number: int, width: int) -> str:
    """Where the entry bundle beside the level-0 tile lies: ``tile/entries/<N>[.p/<W>]``."""
    return f"tile/entries/{_digits(number)}{_partial(width)}"


def _digits(number: int) -> str:
    """Groups of three digits, all but the last marked with ``x``: 1234067 is ``x001/x234/067``."""
    groups = [f"{number % _GROUP:03d}"]
    while number := number // _GROUP:
        groups.append(f"x{number % _GROUP:03d}")
    return "/".join(reversed(groups))


def _partial(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"


def width_at(size: int, level: int, number: int) -> int:
    """How many hashes the tile has in a tree of ``size`` leaves; 0 when it does not exist."""
    return max(0, min(WIDTH, (size >> (HEIGHT * level)) - number * WIDTH))


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """The tiles of a tree of ``size`` leaves that one of ``since`` leaves has not, or has less filled."""
    level = 0
    while (count := size >> (HEIGHT * level)) > 0:
        before = since >> (HEIGHT * level)
        if count > before:
            for number in range(before // WIDTH, (count + WIDTH - 1) // WIDTH):
                yield Tile(level, number, width_at(size, level, number))
        level += 1


def split_hashes(data: bytes) -> list[bytes]:
    """The hashes of a tile's content; ValueError when it is cut."""
    if len(data) % HASH_SIZE:
        raise ValueError(f"a tile of {len(data)} bytes is cut")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: each entry after its length in two bytes, big-endian."""
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def decode_entries(data: bytes) -> Iterator[bytes]:
    """The entries of a bundle; ValueError when it is cut."""
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2])
        if at + 2 > len(data) or end > len(data):
            raise ValueError("an entry bundle is cut")
        yield data[at + 2 : end]
        at = end


def perfect_nodes(low: int, high: int) -> Iterator[tuple[int, int]]:
    """The perfect subtrees ``(height, number)`` that make up leaves ``[low, high)``, left to right."""
    while low < high:
        height = (high - low).bit_length() - 1
        if low:
            height = min(height, (low & -low).bit_length() - 1)
        yield height, low >> height
        low += 1 << height


def tiles_for(ranges: Iterable[tuple[int, int]], size: int) -> set[Tile]:
    """The tiles from which ``range_hash`` computes these ranges in a tree of ``size`` leaves."""
    found: set[Tile] = set()
    for low, high in ranges:
        for height, number in perfect_nodes(low, high):
            level, within = divmod(height, HEIGHT)
            tile = (number << within) // WIDTH
            found.add(Tile(level, tile, width_at(size, level, tile)))
    return found


type Contents = Mapping[tuple[int, int], Sequence[bytes]]
"""The hashes of tiles by level and number."""


def range_hash(low: int, high: int, contents: Contents) -> bytes:
    """The root over leaves ``[low, high)``, a range that RFC 9162 forms; KeyError or IndexError if a tile lacks."""
    hashes = [_node(height, number, contents) for height, number in perfect_nodes(low, high)]
    root = hashes.pop()
    while hashes:
        root = node_hash(hashes.pop(), root)
    return root


def frontier_at(size: int, contents: Contents) -> Frontier:
    """The frontier of the first ``size`` leaves, from the tiles ``tiles_for([(0, size)], …)`` names."""
    return Frontier(size, [_node(height, number, contents) for height, number in perfect_nodes(0, size)])


def _node(height: int, number: int, contents: Contents) -> bytes:
    level, within = divmod(height, HEIGHT)
    tile, start = divmod(number << within, WIDTH)
    hashes = [contents[level, tile][at] for at in range(start, start + (1 << within))]
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]
