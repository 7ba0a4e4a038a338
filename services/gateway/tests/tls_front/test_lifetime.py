from datetime import timedelta

import pytest
import structlog

from interlock_common.testing.chains import ChainAuthority
from interlock_common.testing.clock import ManualClock
from interlock_gateway.tls_front.lifetime import Lifetime

ROOT = ChainAuthority.root()


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (31, []),
        (29, [("warning", "the certificate of the front end ends soon")]),
        (6, [("error", "the certificate of the front end ends soon")]),
        (0, [("error", "the certificate of the front end has expired")]),
    ],
)
def test_what_is_left_decides_how_loud_it_is(days: int, said: list[tuple[str, str]]) -> None:
    clock = ManualClock()
    leaf = ROOT.issue(begins=clock.now() - timedelta(days=40), lifetime=timedelta(days=40 + days)).leaf
    with structlog.testing.capture_logs() as logs:
        Lifetime(clock).look(leaf)
    assert [(log["log_level"], log["event"]) for log in logs] == said


def test_it_is_said_once_a_day_and_at_once_of_another_certificate() -> None:
    clock = ManualClock()
    lifetime = Lifetime(clock)
    first, second = (ROOT.issue(begins=clock.now(), lifetime=timedelta(days=10)).leaf for _ in range(2))
    with structlog.testing.capture_logs() as logs:
        for leaf, hours in ((first, 0), (first, 23), (first, 2), (second, 1)):
            clock.advance(hours * 3600)
            lifetime.look(leaf)
    assert [log["days_left"] for log in logs] == [10, 8, 8]
