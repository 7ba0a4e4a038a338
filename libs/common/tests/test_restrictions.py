from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from interlock_common.messages.auth import Scopes, TimeRestrictions, UsageLimits
from interlock_common.restrictions import (
    UNRESTRICTED,
    RestrictionRefused,
    Window,
    address_of,
    restrictions_of,
    widened,
)

BERLIN = ZoneInfo("Europe/Berlin")


def window(**said: Any) -> Window:
    found = restrictions_of(Scopes(time_restrictions=TimeRestrictions(**said))).window
    assert found is not None
    return found


def at(year: int, month: int, day: int, hour: int, minute: int = 0, zone: ZoneInfo = BERLIN) -> float:
    return datetime(year, month, day, hour, minute, tzinfo=zone).timestamp()


def test_scopes_without_limits_cost_nothing() -> None:
    assert restrictions_of(Scopes("one", ("tools.read",))) is UNRESTRICTED


def test_a_window_goes_by_the_clocks_of_its_place() -> None:
    office = window(days=("mon", "friday"), start_time="09:00", end_time="17:00", timezone="Europe/Berlin")
    assert office.ends(at(2026, 11, 23, 9)) == at(2026, 11, 23, 17)
    assert office.ends(at(2026, 11, 23, 16, 59)) == at(2026, 11, 23, 17)
    assert office.ends(at(2026, 6, 1, 9)) == at(2026, 6, 1, 17)  # a Monday in summer time
    for closed in (at(2026, 11, 23, 8, 59), at(2026, 11, 23, 17), at(2026, 11, 24, 12)):
        assert office.ends(closed) is None


def test_a_window_over_midnight_is_of_the_day_it_starts_on() -> None:
    night = window(days=("sun",), start_time="22:00", end_time="06:00", timezone="Europe/Berlin")
    assert night.ends(at(2026, 11, 22, 23)) == at(2026, 11, 23, 6)  # Sunday to Monday, over the end of the week
    assert night.ends(at(2026, 11, 22, 5)) is None
    assert night.ends(at(2026, 11, 23, 22)) is None


def test_a_window_over_a_change_of_the_clocks_ends_when_they_say_so() -> None:
    night = window(start_time="22:00", end_time="06:00", timezone="Europe/Berlin")
    begins = at(2026, 3, 28, 22)
    assert night.ends(begins) == at(2026, 3, 29, 6)
    assert at(2026, 3, 29, 6) - begins == 7 * 3600  # an hour is missing that night


def test_days_without_hours_are_whole_days() -> None:
    weekend = window(days=("sat", "sun"))
    assert weekend.ends(at(2026, 11, 21, 0, zone=ZoneInfo("UTC"))) == at(2026, 11, 23, 0, zone=ZoneInfo("UTC"))
    always = window()
    assert always.ends(at(2026, 11, 25, 12)) is not None


@pytest.mark.parametrize(
    "said",
    [
        {"days": ("someday",)}, {"start_time": "9:00"}, {"end_time": "24:01"}, {"start_time": "12:60"},
        {"start_time": "٠٩:00"}, {"start_time": "10:00", "end_time": "10:00"}, {"timezone": "Mars/Olympus"},
        {"timezone": "/etc/passwd"}, {"timezone": "../UTC"}, {"timezone": "Europe"}, {"timezone": "x" * 500},
        {"timezone": ""},
    ],
)  # fmt: skip
def test_times_that_cannot_be_understood_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(RestrictionRefused):
        window(**said)


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0/33", "home", "", "10.0.0.0/8/8", "1"])
def test_networks_that_cannot_be_understood_are_refused(network: str) -> None:
    with pytest.raises(RestrictionRefused) as error:
        restrictions_of(Scopes(ip_restrictions=(network,)))
    assert error.value.status == 400


def test_an_address_is_read_as_peers_and_proxies_write_it() -> None:
    assert str(address_of("::ffff:192.0.2.1")) == "192.0.2.1"
    assert str(address_of("fe80::1%eth0")) == "fe80::1"
    assert address_of("unix:/run/x") is None


@pytest.mark.parametrize(
    ("inner", "outer", "what"),
    [
        (("10.1.0.0/16",), ("10.0.0.0/8",), None),
        (("10.0.0.0/8",), ("10.0.0.0/9", "10.128.0.0/9"), None),  # two halves are a whole
        (("10.0.0.0/7",), ("10.0.0.0/8",), "scopes.ip_restrictions"),
        (("10.0.0.1", "::1"), ("10.0.0.0/8",), "scopes.ip_restrictions"),
        ((), ("0.0.0.0/0", "::/0"), "scopes.ip_restrictions"),
    ],
)
def test_networks_are_compared_as_sets(inner: tuple[str, ...], outer: tuple[str, ...], what: str | None) -> None:
    assert widened(Scopes(ip_restrictions=inner), Scopes(ip_restrictions=outer)) == what


def test_windows_are_compared_minute_by_minute_within_a_time_zone() -> None:
    def scopes(**said: Any) -> Scopes:
        return Scopes(time_restrictions=TimeRestrictions(**said))

    office = scopes(days=("mon", "tue"), start_time="09:00", end_time="17:00", timezone="Europe/Berlin")
    assert (
        widened(scopes(days=("tue",), start_time="10:00", end_time="12:00", timezone="Europe/Berlin"), office) is None
    )
    for wider in (
        scopes(days=("tue",), start_time="10:00", end_time="12:00"),
        scopes(days=("wed",), start_time="10:00", end_time="12:00", timezone="Europe/Berlin"),
        scopes(days=("tue",), start_time="16:00", end_time="10:00", timezone="Europe/Berlin"),
        Scopes(),
    ):
        assert widened(wider, office) == "scopes.time_restrictions"


def test_limits_stay_and_only_become_less() -> None:
    outer = Scopes(usage_limits=UsageLimits(requests_per_day=5))
    assert widened(Scopes(usage_limits=UsageLimits(requests_per_day=5, requests_total=9)), outer) is None
    for limits in (None, UsageLimits(), UsageLimits(requests_per_hour=1), UsageLimits(requests_per_day=6)):
        assert widened(Scopes(usage_limits=limits), outer) == "scopes.usage_limits.requests_per_day"
