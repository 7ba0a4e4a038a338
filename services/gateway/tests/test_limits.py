import pytest

from interlock_gateway.limits import Concurrency, TooManyCalls


def test_a_principal_over_the_limit_is_refused_and_nobody_else() -> None:
    places = Concurrency(2)
    with places.taken("ada"), places.taken("ada"):
        with pytest.raises(TooManyCalls) as refused, places.taken("ada"):
            pass
        assert (refused.value.status, refused.value.fields) == (429, {"retry_after": 1})
        with places.taken("eve"):
            pass


def test_a_place_is_given_back_whatever_happens() -> None:
    places = Concurrency(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), places.taken("ada"):
            raise ZeroDivisionError
    assert not places._running  # pyright: ignore[reportPrivateUsage]
