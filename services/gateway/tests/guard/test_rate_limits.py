import pytest

from interlock_common.testing.clock import ManualClock
from interlock_gateway.guard.buckets import Rate
from interlock_gateway.guard.rate_limits import (
    ADDRESS,
    CERTIFICATE,
    LOGIN,
    PRINCIPAL,
    TOKEN,
    Counted,
    RateLimited,
    RateLimits,
    unlimited,
)


def headers(counted: Counted) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in counted.headers()}


def test_a_principal_has_one_limit_with_all_tokens_together() -> None:
    limits = RateLimits({PRINCIPAL: Rate(1, 4), TOKEN: Rate(1, 3)}, ManualClock())
    for token in ("t-1", "t-1", "t-1", "t-2"):
        limits.count_caller("ada", token)
    with pytest.raises(RateLimited) as refused:
        limits.count_caller("ada", "t-2")
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.fields == {"retry_after": 1, "limit": "principal"}
    limits.count_caller("eve", "t-3")


def test_a_refused_token_costs_its_principal_nothing() -> None:
    limits = RateLimits({PRINCIPAL: Rate(1, 4), TOKEN: Rate(1, 1)}, ManualClock())
    limits.count_caller("ada", "t-1")
    for _ in range(5):
        with pytest.raises(RateLimited, match="of one token"):
            limits.count_caller("ada", "t-1")
    for token in ("t-2", "t-3", "t-4"):
        limits.count_caller("ada", token)


def test_a_certificate_has_a_limit_of_its_own_where_there_is_one() -> None:
    limits = RateLimits({CERTIFICATE: Rate(10, 20)}, ManualClock())
    for _ in range(20):
        limits.count_caller("ada", "t-1", certificate="agent-7")
    with pytest.raises(RateLimited, match="of one certificate: 10 a second, 20 at once"):
        limits.count_caller("ada", "t-1", certificate="agent-7")
    limits.count_caller("ada", "t-1")


def test_logins_are_limited_harder_than_other_requests_of_an_address() -> None:
    limits = RateLimits({ADDRESS: Rate(10, 100), LOGIN: Rate(0.1, 2)}, ManualClock())
    for _ in range(2):
        limits.count_address("192.0.2.1", login=True)
    with pytest.raises(RateLimited) as refused:
        limits.count_address("192.0.2.1", login=True)
    assert refused.value.fields["retry_after"] == 10
    limits.count_address("192.0.2.1")
    limits.count_address("192.0.2.2", login=True)


def test_headers_tell_the_limit_that_is_nearest() -> None:
    clock = ManualClock()
    limits = RateLimits({ADDRESS: Rate(10, 100), PRINCIPAL: Rate(2, 5)}, clock)
    counted = Counted()
    assert headers(counted) == {}
    limits.count_address("192.0.2.1", counted)
    assert headers(counted)["ratelimit-remaining"] == "99"
    limits.count_caller("ada", "t-1", counted)
    assert headers(counted) == {
        "ratelimit-limit": "5", "ratelimit-remaining": "4", "ratelimit-reset": "1",
        "ratelimit-policy": '5;w=3;comment="principal"',
    }  # fmt: skip
    for _ in range(4):
        limits.count_caller("ada", "t-1", counted)
    with pytest.raises(RateLimited):
        limits.count_caller("ada", "t-1", counted)
    assert (headers(counted)["ratelimit-remaining"], headers(counted)["ratelimit-reset"]) == ("0", "3")


def test_of_many_refusals_one_in_ten_seconds_is_for_the_record() -> None:
    clock = ManualClock()
    limits = RateLimits({PRINCIPAL: Rate(0.01, 1)}, clock)
    limits.count_caller("ada", "t-1")
    noted: list[bool] = []
    for pause in (0, 0, 5, 5, 0):
        clock.advance(pause)
        with pytest.raises(RateLimited) as refused:
            limits.count_caller("ada", "t-1")
        noted.append(refused.value.noted)
    assert noted == [True, False, False, True, False]


def test_without_limits_nothing_is_counted() -> None:
    counted = Counted()
    limits = unlimited(ManualClock())
    for _ in range(1000):
        limits.count_address("192.0.2.1", counted, login=True)
        limits.count_caller("ada", "t-1", counted, certificate="agent-7")
    assert (counted.headers(), limits.collect()) == ((), {})
