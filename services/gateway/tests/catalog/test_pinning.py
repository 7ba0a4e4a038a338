"""What stands after a look, for every history of an upstream."""

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.messages.catalog import Definition
from interlock_gateway.catalog import pinning
from interlock_gateway.catalog.pinning import Key, Pinned, Policy, Settled, settle
from interlock_gateway.upstreams.discovery.discovery import Discovered


def definition(name: str, **members: Any) -> Definition:
    raw = msgspec.json.encode({"name": name, "inputSchema": {}, **members})
    return Definition(name, msgspec.Raw(raw), f"sha256:{hashlib.sha256(raw).hexdigest()}")


def found(*tools: Definition) -> Discovered:
    return Discovered("modern", "2026-07-28", tools)


def look(pins: dict[Key, Pinned], *tools: Definition, policy: Policy | None = None, at: int = 1) -> Settled:
    return settle(pins, found(*tools), policy or Policy(), at=at, first=False)


def first(*tools: Definition) -> dict[Key, Pinned]:
    return settle({}, found(*tools), Policy("quarantine", "quarantine", "quarantine"), at=0, first=True).pins


def standing(settled: Settled, name: str = "a") -> str:
    return settled.pins["tool", name].standing


PLAIN, TEXT, WIDE = definition("a"), definition("a", description="x"), definition("a", annotations={"x": 1})


def test_the_first_look_accepts_what_it_finds() -> None:
    assert first(PLAIN)["tool", "a"].standing == "accepted"


@pytest.mark.parametrize(
    ("policy", "version", "expected"),
    [
        (Policy(), TEXT, "warned"),
        (Policy(), WIDE, "quarantined"),
        (Policy(described="quarantine"), TEXT, "quarantined"),
        (Policy(described="accept"), TEXT, "accepted"),
        (Policy(widened="warn"), WIDE, "warned"),
        (Policy(widened="accept"), WIDE, "accepted"),
    ],
)
def test_a_change_stands_as_the_policy_says(policy: Policy, version: Definition, expected: str) -> None:
    after = look(first(PLAIN), version, policy=policy)
    assert standing(after) == expected
    assert len(after.changes) == 1
    assert bool(after.pins["tool", "a"].reason) == (expected != "accepted")


def test_what_returns_to_its_accepted_form_is_accepted_again() -> None:
    drifted = look(first(PLAIN), WIDE)
    assert standing(drifted) == "quarantined"
    back = look(drifted.pins, PLAIN)
    assert standing(back) == "accepted"
    assert back.pins == first(PLAIN)


def test_small_steps_are_held_against_what_was_accepted() -> None:
    """Two changes that are harmless one by one do not add up to one that was never looked at."""
    pins = look(first(PLAIN), WIDE).pins
    texts_too = look(pins, definition("a", annotations={"x": 1}, description="y"))
    assert standing(texts_too) == "quarantined"


def test_an_accepted_change_is_what_counts_from_then_on() -> None:
    pins = look(first(PLAIN), WIDE).pins
    pins["tool", "a"] = pins["tool", "a"].accept()
    assert look(pins, WIDE).changes == ()
    assert standing(look(pins, PLAIN)) == "quarantined"


@pytest.mark.parametrize(
    ("new", "expected"), [("accept", "accepted"), ("warn", "warned"), ("quarantine", "quarantined")]
)
def test_what_comes_later_stands_as_the_policy_says(new: Any, expected: str) -> None:
    after = look(first(PLAIN), PLAIN, definition("b"), policy=Policy(new=new))
    assert standing(after, "b") == expected
    changed = look(after.pins, PLAIN, definition("b", description="x"), policy=Policy(new=new))
    assert standing(changed, "b") == ("warned" if new == "accept" else expected)


def test_what_vanishes_does_not_come_back_as_something_else() -> None:
    gone = look(first(PLAIN), at=5)
    assert gone.pins["tool", "a"].gone == 5
    assert gone.changes[0].after is None
    assert look(gone.pins).changes == ()
    assert standing(look(gone.pins, WIDE)) == "quarantined"
    assert standing(look(gone.pins, PLAIN)) == "accepted"


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "MAX_GONE", 2)
    pins = first(*(definition(name) for name in "abc"))
    pins = look(pins, definition("c"), at=1).pins
    pins = look(pins, at=2).pins
    assert [key[1] for key, pin in sorted(pins.items()) if pin.gone] == ["b", "c"]


def test_kinds_that_were_not_asked_for_stay_as_they_are() -> None:
    before = first(PLAIN)
    other = Discovered("modern", "2026-07-28", prompts=(definition("p"),), asked=frozenset({"prompt"}))
    after = settle(before, other, Policy(), at=1, first=False)
    assert after.pins["tool", "a"] == before["tool", "a"]
    assert ("prompt", "p") in after.pins


versions = st.lists(st.sampled_from([None, PLAIN, TEXT, WIDE]), max_size=12)
treatments = st.sampled_from(["quarantine", "warn", "accept"])


@given(versions, st.builds(Policy, treatments, treatments, treatments))
def test_whatever_happens_nothing_unseen_is_accepted(history: list[Definition | None], policy: Policy) -> None:
    pins = first(PLAIN)
    seen = {PLAIN.digest}
    for version in history:
        settled = look(pins, *([] if version is None else [version]), policy=policy)
        pins = settled.pins
        pin = pins["tool", "a"]
        assert pin.accepted_digest
        assert (pin.gone is None) == (version is not None)
        if version is None:
            continue
        assert pin.digest == version.digest
        if pin.standing == "accepted":
            assert pin.accepted_digest == pin.digest
            assert pin.digest in seen or "accept" in {policy.described, policy.widened}
            seen.add(pin.digest)
        else:
            assert pin.accepted_digest in seen
            assert pin.accepted_digest != pin.digest
        assert look(pins, version, policy=policy).changes == ()
