"""Our Merkle tree against RFC 9162 and against pymerkle, which knows nothing of our code."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree  # pyright: ignore[reportMissingTypeStubs] - it has none

from interlock_common.transparency.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofInvalid,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves that certificate transparency's own tests use, with the roots of the trees of 1 to 8 of them.
LEAVES = [bytes.fromhex(leaf) for leaf in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOT_OF_EIGHT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"

sizes = st.integers(1, 700)


def hashes(size: int) -> list[bytes]:
    return [leaf_hash(str(n).encode()) for n in range(size)]


def prove(ranges: list[tuple[int, int]], leaves: list[bytes]) -> list[bytes]:
    return [root_of(leaves[low:high]) for low, high in ranges]


def flip(data: bytes, bit: int) -> bytes:
    at, within = divmod(bit % (len(data) * 8), 8)
    return data[:at] + bytes([data[at] ^ (1 << within)]) + data[at + 1 :]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == sha256().digest()


def test_the_tree_of_the_known_leaves_has_the_known_root() -> None:
    assert root_of(map(leaf_hash, LEAVES)).hex() == ROOT_OF_EIGHT


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 255, 256, 257, 511, 600])
def test_roots_and_proofs_equal_those_of_pymerkle(size: int) -> None:
    theirs: Any = InmemoryTree()
    for number in range(size):
        theirs.append_entry(str(number).encode())
    leaves = hashes(size)
    assert root_of(leaves) == theirs.get_root(size)
    for index in {0, 1, size // 2, size - 1} & set(range(size)):
        proof = theirs.prove_inclusion(index + 1, size).path[1:]  # theirs begins with the leaf
        assert prove(inclusion_ranges(index, size), leaves) == proof
    for old in {1, size // 3, size // 2, size - 1} & set(range(1, size)):
        ours = prove(consistency_ranges(old, size), leaves)
        assert ours == [theirs._get_root(low, high) for low, high in subproof(old, 0, size, whole=True)]


def subproof(old: int, low: int, high: int, *, whole: bool) -> list[tuple[int, int]]:
    """SUBPROOF as RFC 9162, section 2.1.4.1 writes it; pymerkle's own consistency proofs have another form."""
    if low + old == high:
        return [] if whole else [(low, high)]
    middle = 1
    while middle * 2 < high - low:
        middle *= 2
    if old <= middle:
        return [*subproof(old, low, low + middle, whole=whole), (low + middle, high)]
    return [*subproof(old - middle, low + middle, high, whole=False), (low, low + middle)]


@given(sizes, st.data())
def test_every_leaf_is_proved_and_every_flipped_bit_noticed(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root = prove(inclusion_ranges(index, size), leaves), root_of(leaves)
    verify_inclusion(leaves[index], index, size, proof, root)
    bit = data.draw(st.integers(0, 255))
    with pytest.raises(ProofInvalid):
        verify_inclusion(flip(leaves[index], bit), index, size, proof, root)
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaves[index], index, size, proof, flip(root, bit))
    for at in range(len(proof)):
        altered = [*proof[:at], flip(proof[at], bit), *proof[at + 1 :]]
        with pytest.raises(ProofInvalid):
            verify_inclusion(leaves[index], index, size, altered, root)


@given(st.integers(2, 700), st.data())
def test_a_wrong_index_and_a_wrong_length_are_refused(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(-1, size + 1).filter(lambda n: n != index))
    proof, root = prove(inclusion_ranges(index, size), leaves), root_of(leaves)
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaves[index], other, size, proof, root)
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaves[index], index, size, proof[:-1], root)
    with pytest.raises(ProofInvalid):
        verify_inclusion(leaves[index], index, size, [*proof, root], root)


@given(sizes, st.data())
def test_every_prefix_is_consistent_and_every_flipped_bit_noticed(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    old = data.draw(st.integers(0, size))
    old_root, new_root = root_of(leaves[:old]), root_of(leaves)
    proof = prove(consistency_ranges(old, size), leaves)
    verify_consistency(old, size, old_root, new_root, proof)
    bit = data.draw(st.integers(0, 255))
    with pytest.raises(ProofInvalid):
        verify_consistency(old, size, flip(old_root, bit), new_root, proof)
    with pytest.raises(ProofInvalid):
        verify_consistency(old, size, old_root, new_root, [*proof, old_root])
    if old not in {0, size}:
        with pytest.raises(ProofInvalid):
            verify_consistency(old, size, old_root, flip(new_root, bit), proof)
    for at in range(len(proof)):
        altered = [*proof[:at], flip(proof[at], bit), *proof[at + 1 :]]
        with pytest.raises(ProofInvalid):
            verify_consistency(old, size, old_root, new_root, altered)


@given(st.integers(2, 400), st.data())
def test_a_rewritten_history_is_not_consistent(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves[:changed], leaf_hash(b"rewritten"), *leaves[changed + 1 :]]
    proof = prove(consistency_ranges(old, size), rewritten)
    with pytest.raises(ProofInvalid):
        verify_consistency(old, size, root_of(leaves[:old]), root_of(rewritten), proof)


def test_a_tree_does_not_shrink() -> None:
    with pytest.raises(ProofInvalid):
        verify_consistency(3, 2, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(ValueError, match="no prefix"):
        consistency_ranges(3, 2)


def test_a_frontier_tells_which_subtrees_a_leaf_completes() -> None:
    frontier = Frontier()
    leaves = hashes(4)
    assert frontier.append(leaves[0]) == []
    assert [(node.height, node.number) for node in frontier.append(leaves[1])] == [(1, 0)]
    assert frontier.append(leaves[2]) == []
    last = frontier.append(leaves[3])
    assert [(node.height, node.number) for node in last] == [(1, 1), (2, 0)]
    assert last[-1].hash == frontier.root() == root_of(leaves)
