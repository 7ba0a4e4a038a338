import itertools

import pytest

from interlock_common.testing.clock import ManualClock
from interlock_gateway.upstreams.breaker import Breaker, UpstreamResting


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def breaker_on(clock: ManualClock, *, chance: float = 0.0) -> Breaker:
    return Breaker("notes", clock, threshold=3, first_rest=1.0, longest_rest=5.0, chance=lambda: chance)


def fail(breaker: Breaker, times: int = 3) -> None:
    for _ in range(times):
        probe = breaker.enter()
        breaker.failed()
        breaker.leave(probe=probe)


def test_failures_in_a_row_make_an_upstream_rest_and_the_refusal_says_until_when(clock: ManualClock) -> None:
    breaker = breaker_on(clock)
    fail(breaker)
    with pytest.raises(UpstreamResting, match=r"notes failed 3 times in a row and is tried again in 1\.0 s") as refused:
        breaker.enter()
    assert refused.value.fields["retry_after"] == 1.0


def test_an_answer_in_between_starts_the_count_anew(clock: ManualClock) -> None:
    breaker = breaker_on(clock)
    for _ in range(5):
        fail(breaker, 2)
        breaker.succeeded()
    assert breaker.enter() is False


def test_after_the_rest_one_call_probes_while_others_are_refused(clock: ManualClock) -> None:
    breaker = breaker_on(clock)
    fail(breaker)
    clock.advance(1)
    assert breaker.enter() is True
    with pytest.raises(UpstreamResting, match="is being tried after a failure, by one call"):
        breaker.enter()
    breaker.succeeded()
    breaker.leave(probe=True)
    assert breaker.enter() is False


def test_a_probe_that_begins_to_be_answered_lets_others_pass_but_one_failure_is_enough(clock: ManualClock) -> None:
    breaker = breaker_on(clock)
    fail(breaker)
    clock.advance(1)
    breaker.enter()
    breaker.answering()
    assert breaker.enter() is False
    breaker.failed()
    with pytest.raises(UpstreamResting):
        breaker.enter()


def test_rests_grow_up_to_a_bound_until_a_call_succeeds(clock: ManualClock) -> None:
    breaker = breaker_on(clock)
    fail(breaker)
    rests: list[float] = []
    for _ in range(4):
        with pytest.raises(UpstreamResting) as refused:
            breaker.enter()
        rests.append(refused.value.fields["retry_after"])
        clock.advance(rests[-1])
        fail(breaker, 1)
    assert rests == [1, 2, 4, 5]
    clock.advance(5)
    breaker.enter()
    breaker.succeeded()
    fail(breaker)
    with pytest.raises(UpstreamResting) as refused:
        breaker.enter()
    assert refused.value.fields["retry_after"] == 1


def test_edges_do_not_probe_together(clock: ManualClock) -> None:
    chances = itertools.count(0, 0.5)
    rests: list[float] = []
    for _ in range(2):
        breaker = breaker_on(clock, chance=next(chances))
        fail(breaker)
        with pytest.raises(UpstreamResting) as refused:
            breaker.enter()
        rests.append(refused.value.fields["retry_after"])
    assert rests == [1.0, 0.875]


def test_a_probe_that_is_given_up_leaves_the_next_call_to_be_one(clock: ManualClock) -> None:
    breaker = breaker_on(clock)
    fail(breaker)
    clock.advance(1)
    breaker.leave(probe=breaker.enter())
    assert breaker.enter() is True


def test_calls_that_were_under_way_do_not_make_the_rest_longer(clock: ManualClock) -> None:
    breaker = breaker_on(clock)
    for _ in range(10):
        breaker.enter()
    for _ in range(10):
        breaker.failed()
    clock.advance(1)
    assert breaker.enter() is True
