import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.errors import ConfigurationError
from interlock_common.testing.clock import ManualClock
from interlock_gateway.guard.buckets import ONE, Buckets, Rate


def given_out(buckets: Buckets, clock: ManualClock, key: str, asked: int) -> int:
    """How many of so many requests get a token."""
    now = clock.monotonic()
    got = 0
    for _ in range(asked):
        got += buckets.take(key, now) >= ONE
    return got


def test_a_burst_is_given_at_once_and_then_the_rate() -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(10, 20), clock)
    assert given_out(buckets, clock, "ada", 50) == 20
    clock.advance(0.5)
    assert given_out(buckets, clock, "ada", 50) == 5
    clock.advance(60)
    assert given_out(buckets, clock, "ada", 50) == 20


def test_one_key_takes_nothing_of_another() -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(1, 3), clock)
    assert [given_out(buckets, clock, key, 9) for key in ("ada", "eve")] == [3, 3]


@given(
    st.floats(0.1, 1000), st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 150)), max_size=30),
)  # fmt: skip
def test_no_bucket_gives_more_than_its_burst_and_its_rate(
    rate: float, burst: int, steps: list[tuple[float, int]]
) -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(rate, burst), clock)
    moments: list[float] = []
    for pause, asked in steps:
        clock.advance(pause)
        moments += [clock.monotonic()] * given_out(buckets, clock, "ada", asked)
    for first, begin in enumerate(moments):
        for last in range(first, len(moments), 7):
            assert last - first + 1 <= burst + rate * (moments[last] - begin) + 0.01


@given(st.floats(0.1, 1000), st.integers(1, 100))
def test_whoever_asks_no_faster_than_the_rate_is_never_refused(rate: float, burst: int) -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(rate, burst), clock)
    for _ in range(50):
        assert given_out(buckets, clock, "ada", 1) == 1
        clock.advance(1 / rate)


def test_what_is_given_back_was_never_taken() -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(1, 5), clock, wake=lambda: None)
    given_out(buckets, clock, "ada", 3)
    buckets.give_back("ada")
    assert buckets.left("ada", clock.monotonic()) == pytest.approx(3)
    assert buckets.collect() == {"ada": 2}


def test_what_others_took_is_gone_here_and_comes_back_as_time_goes() -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(10, 20), clock)
    buckets.taken_elsewhere("ada", 25)
    assert buckets.left("ada", clock.monotonic()) == pytest.approx(-5)
    assert buckets.wait(-5) == pytest.approx(0.6)
    clock.advance(0.6)
    assert given_out(buckets, clock, "ada", 9) == 1


def test_a_report_that_no_edge_can_honestly_make_is_cut() -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(10, 20), clock)
    buckets.taken_elsewhere("ada", 10**9)
    assert buckets.left("ada", clock.monotonic()) == pytest.approx(-10)


def test_keys_are_bounded_and_who_was_not_seen_for_longest_goes() -> None:
    clock = ManualClock()
    buckets = Buckets(Rate(1, 2), clock, capacity=3)
    for key in ("a", "b", "c", "a", "d"):
        given_out(buckets, clock, key, 1)
    assert len(buckets) == 3
    assert [buckets.left(key, 0) for key in "abcd"] == [0, 2, 1, 1]


def test_use_is_kept_for_others_only_where_somebody_tells_them() -> None:
    clock = ManualClock()
    woken: list[bool] = []
    told, silent = Buckets(Rate(1, 16), clock, wake=lambda: woken.append(True)), Buckets(Rate(1, 16), clock)
    for buckets in (told, silent):
        given_out(buckets, clock, "ada", 3)
    assert (told.collect(), told.collect(), silent.collect()) == ({"ada": 3}, {}, {})
    assert len(woken) == 1  # an eighth of the burst


@pytest.mark.parametrize("text", ["", "10", "10/", "/10", "0/10", "10/0", "-1/5", "1e9/5", "10/20/30", "a/b"])
def test_a_rate_that_is_none_names_its_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RATE_LIMIT_TOKEN"):
        Rate.parse("RATE_LIMIT_TOKEN", text)


def test_rates_are_read_and_can_be_off() -> None:
    assert Rate.parse("X", " 0.5/3 ") == Rate(0.5, 3)
    assert Rate.parse("X", "OFF") is None
