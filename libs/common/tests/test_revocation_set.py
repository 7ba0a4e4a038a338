import uuid
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from interlock_common.messages.auth import revocation_key
from interlock_common.messages.revocation import FOR_EVER, selector_key
from interlock_common.revocation_set import RevocationSet, mark_of

_ids = st.one_of(st.uuids().map(str), st.text(min_size=1, max_size=8))
_selectors = st.sampled_from(
    ["all", selector_key("user", "ada"), selector_key("user", "eve"), selector_key("team", "red")]
)
_entries = st.one_of(st.tuples(_ids.map(revocation_key), st.just(FOR_EVER)), st.tuples(_selectors, st.integers(1, 100)))


def filled(entries: list[tuple[str, int]]) -> RevocationSet:
    held = RevocationSet()
    for key, before in entries:
        held[key] = before
    return held


@given(st.lists(_entries, max_size=20), _ids, st.lists(_selectors, max_size=4, unique=True), st.integers(0, 100))
def test_a_token_is_revoked_by_whichever_selector_covers_it(
    entries: list[tuple[str, int]], token_id: str, selectors: list[str], issued_at: int
) -> None:
    last = dict(entries)
    expected = revocation_key(token_id) in last or any(issued_at < last.get(key, 0) for key in selectors)
    assert filled(entries).covers([mark_of(token_id)], selectors, issued_at) == expected


@given(st.lists(_entries, max_size=20), _entries, _ids, st.integers(0, 100))
def test_one_revocation_more_lets_nothing_in_that_was_refused(
    entries: list[tuple[str, int]], more: tuple[str, int], token_id: str, issued_at: int
) -> None:
    held = filled(entries)
    selectors = ["all", selector_key("user", "ada"), selector_key("team", "red")]
    before = held.covers([mark_of(token_id)], selectors, issued_at)
    if more[1] >= held.before.get(more[0], 0):  # auth publishes no earlier moment than stands
        held[more[0]] = more[1]
        assert held.covers([mark_of(token_id)], selectors, issued_at) >= before


@given(st.lists(_ids, min_size=1, max_size=5, unique=True), st.data())
def test_a_revoked_parent_revokes_what_was_exchanged_from_it(chain: list[str], data: st.DataObject) -> None:
    revoked = data.draw(st.sampled_from(chain))
    assert filled([(revocation_key(revoked), FOR_EVER)]).covers(map(mark_of, chain), (), 0)


@given(st.lists(_entries, max_size=20), st.randoms())
def test_the_digest_says_what_is_held_and_not_how_it_came(entries: list[tuple[str, int]], random: Random) -> None:
    last = list(dict(entries).items())
    held = filled(entries)
    random.shuffle(last)
    assert held.digest == filled(last).digest
    assert len(held) == len(last)
    for key, _ in last:
        held.pop(key, None)
    assert (held.digest, len(held)) == (0, 0)


@given(st.uuids(), st.text(min_size=1, max_size=40))
def test_no_two_ids_have_one_mark(one: uuid.UUID, other: str) -> None:
    assert (mark_of(str(one)) == mark_of(other)) == (str(one) == other)
    assert mark_of(str(one)) != mark_of(str(one).upper()) or str(one) == str(one).upper()
