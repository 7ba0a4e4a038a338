"""Merkle trees after RFC 9162, section 2.1: hashing, the frontier, and the verification of proofs.

Hashes are 32 raw bytes of SHA-256; indexes count from 0; a tree of ``size`` leaves has indexes below ``size``.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

EMPTY_ROOT = sha256(b"").digest()
HASH_SIZE = 32


class ProofInvalid(Exception):
    """A proof does not show what it claims; the text says which step failed."""


class Node(NamedTuple):
    """The root of the perfect subtree over leaves ``[number << height, (number + 1) << height)``."""

    height: int
    number: int
    hash: bytes


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes (RFC 9162, section 2.1.1)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 9162, section 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its perfect subtrees, largest first.

    It is all that appending and computing the root need: at most 64 hashes.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)
        if len(self._hashes) != size.bit_count():
            raise ValueError(f"a frontier of {size} leaves has {size.bit_count()} hashes, not {len(self._hashes)}")

    def copy(self) -> "Frontier":
        return Frontier(self.size, self._hashes)

    def append(self, leaf: bytes) -> list[Node]:
        """Add one leaf hash; the perfect subtrees above it that this completes, lowest first."""
        completed: list[Node] = []
        node, height, position = leaf, 0, self.size
        while position & 1:
            node = node_hash(self._hashes.pop(), node)
            position >>= 1
            height += 1
            completed.append(Node(height, position, node))
        self._hashes.append(node)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """The Merkle tree hash of all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        node = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            node = node_hash(left, node)
        return node


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root of a tree with these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def split_point(width: int) -> int:
    """The largest power of two below ``width``, where RFC 9162 divides a range of leaves."""
    return 1 << ((width - 1).bit_length() - 1)


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaf ranges whose roots prove leaf ``index``, from the leaf up (RFC 9162, section 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
    ranges: list[tuple[int, int]] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + split_point(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The leaf ranges whose roots prove that ``old`` is a prefix of ``new`` (RFC 9162, section 2.1.4.1)."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves has no prefix of {old}")
    if old in {0, new}:
        return []
    ranges: list[tuple[int, int]] = []
    low, high = 0, new
    while old != high:
        middle = low + split_point(high - low)
        if old <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low > 0:  # the old root itself is known to whoever asks, unless it is only a part of the old tree
        ranges.append((low, high))
    return ranges[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` (a leaf hash) is number ``index`` (RFC 9162, section 2.1.3.2); else ProofInvalid."""
    if not 0 <= index < size:
        raise ProofInvalid(f"leaf {index} is not in a tree of {size} leaves")
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid("the inclusion proof is too long")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("the inclusion proof is too short")
    if node != root:
        raise ProofInvalid(f"the inclusion proof of leaf {index} leads to another root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the old tree is a prefix of the new one (RFC 9162, section 2.1.4.2); else ProofInvalid."""
    if not 0 <= old <= new:
        raise ProofInvalid(f"a tree of {new} leaves has no prefix of {old}")
    if old in {0, new}:
        _verify_trivial(old, old_root, new_root, proof, same=old == new)
        return
    if not proof:
        raise ProofInvalid("the consistency proof is empty")
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    old_node, new_node = _both_roots(old, new, path)
    if old_node != old_root or new_node != new_root:
        which = "old" if old_node != old_root else "new"
        raise ProofInvalid(f"the consistency proof leads to another {which} root")


def _both_roots(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The old and the new root that a consistency path computes."""
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofInvalid("the consistency proof is too long")
        if position & 1 or position == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofInvalid("the consistency proof is too short")
    return old_node, new_node


def _verify_trivial(old: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes], *, same: bool) -> None:
    if proof:
        raise ProofInvalid("the consistency proof is too long")
    if old == 0 and old_root != EMPTY_ROOT:
        raise ProofInvalid("the old tree is empty but its root is not that of an empty tree")
    if same and old_root != new_root:
        raise ProofInvalid("two trees of the same size have different roots")
