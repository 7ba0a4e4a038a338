from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.revocation_marks import PAGES, WIDTH, Marks, PageMisfit

# Few values, so that marks share shards and lie across the borders of their neighbours.
_marks = st.lists(st.sampled_from([b"\x01", b"\x02"]), min_size=WIDTH, max_size=WIDTH).map(b"".join)


def filled(marks: set[bytes]) -> Marks:
    held = Marks()
    for mark in marks:
        held.add(mark)
    return held


@given(st.lists(st.tuples(st.booleans(), _marks), max_size=60), st.lists(_marks, max_size=20))
def test_marks_are_a_set(steps: list[tuple[bool, bytes]], asked: list[bytes]) -> None:
    model, held = set[bytes](), Marks()
    for add, mark in steps:
        if add:
            model.add(mark)
            held.add(mark)
        else:
            assert held.discard(mark) == (mark in model)
            model.discard(mark)
    assert len(held) == len(model)
    assert held.digest == reduce(lambda digest, mark: digest ^ int.from_bytes(mark), model, 0)
    for mark in (*asked, *model):
        assert (mark in held) == (mark in model)


@given(st.sets(st.binary(min_size=WIDTH, max_size=WIDTH), max_size=100), st.sets(_marks, max_size=10))
def test_all_pages_are_all_marks(marks: set[bytes], before: set[bytes]) -> None:
    held, other = filled(marks), filled(before)
    for number in range(PAGES):
        other.take_page(number, *held.page(number))
    assert (len(other), other.digest) == (len(marks), held.digest)
    assert all(mark in other for mark in marks)
    assert not any(mark in other for mark in before - marks)


@pytest.mark.parametrize("number", [0, PAGES, -1])
def test_a_page_that_does_not_fit_its_own_description_is_refused(number: int) -> None:
    marks, lengths = filled({b"\x00" * WIDTH}).page(0)
    misfits = [(marks, lengths[1:]), (marks[1:], lengths), (marks, (15, 1, *lengths[2:]))]
    for misfit in [*misfits, (marks, lengths)] if number else misfits:
        with pytest.raises(PageMisfit):
            Marks().take_page(number, *misfit)
