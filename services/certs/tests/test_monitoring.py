from datetime import timedelta
from pathlib import Path

import pytest
from opentelemetry.metrics import CallbackOptions
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.monitoring import ExpiryMonitor, Watched, severity
from interlock_certs.testing import ADMIN, DAY, CaWorld
from interlock_common.messages.certs import RevokeLeaf
from interlock_common.testing.clock import ManualClock

_DAY = 86400


@pytest.fixture
async def ca(tmp_path: Path, engine: AsyncEngine, clock: ManualClock) -> CaWorld:
    world = CaWorld(tmp_path, engine, clock)
    await world.generations.load()
    return world


@pytest.fixture
def monitor(ca: CaWorld) -> ExpiryMonitor:
    return ExpiryMonitor(ca.engine, ca.generations, ca.bus, ca.announcer, 60, ca.clock)


@pytest.mark.parametrize(
    ("life", "left", "expected"),
    [
        (1, 0.30, None), (1, 0.24, "warning"), (1, 0.12, "error"),
        (90, 29, None), (90, 22, "warning"), (90, 6.9, "error"),
        (365, 31, None), (365, 29, "warning"), (365, 6.9, "error"),
        (3650, 29, "warning"), (3650, 8, "warning"), (3650, 6, "error"),
    ],
)  # fmt: skip
def test_how_bad_it_is_depends_on_the_lifetime(life: float, left: float, expected: str | None) -> None:
    end = 4000 * _DAY
    assert severity(Watched("auth", "1", int(end - life * _DAY), end), end - left * _DAY) == expected


async def test_a_leaf_that_was_not_replaced_is_told_once_for_each_severity(
    ca: CaWorld, monitor: ExpiryMonitor, clock: ManualClock
) -> None:
    leaf = await ca.issue("auth")
    ca.bus.connect("auth", "a1", leaf)
    for seconds in (0, 0.8 * _DAY, 60, 0.1 * _DAY, 60):
        clock.advance(seconds)
        await monitor.look()
    told = [(told, what.split(" ")[0]) for told, what in ca.announcer.told]
    assert told == [("warning", "auth"), ("error", "auth")]


async def test_a_leaf_that_was_replaced_or_revoked_is_told_by_nobody(
    ca: CaWorld, monitor: ExpiryMonitor, clock: ManualClock
) -> None:
    old, revoked = await ca.issue("auth"), await ca.issue("gateway")
    for identity, leaf in (("auth", old), ("gateway", revoked)):
        ca.bus.connect(identity, "1", leaf)
    clock.advance(0.7 * _DAY)
    await ca.issue("auth")
    await ca.revocations.revoke_leaf(RevokeLeaf(ADMIN, revoked.serial))
    ca.announcer.told.clear()
    clock.advance(0.2 * _DAY)
    await monitor.look()
    assert ca.announcer.told == []


async def test_the_last_leaf_of_a_service_that_was_taken_away_may_expire(
    ca: CaWorld, monitor: ExpiryMonitor, clock: ManualClock
) -> None:
    await ca.issue("plugins")
    await ca.issue("operator")
    clock.advance(0.9 * _DAY)
    await monitor.look()
    assert ca.announcer.told == []
    ca.bus.away = True  # nobody says who is there: rather once too often
    await monitor.look()
    assert [what.split(" ")[0] for _, what in ca.announcer.told] == ["plugins"]


async def test_a_ca_that_is_nearly_over_is_an_error(ca: CaWorld, monitor: ExpiryMonitor, clock: ManualClock) -> None:
    clock.advance(timedelta(days=360).total_seconds())
    await monitor.look()
    assert [(told, what.split(" ")[0]) for told, what in ca.announcer.told] == [("error", "ca-1-issuing")]


async def test_the_time_left_of_each_is_measured(ca: CaWorld, monitor: ExpiryMonitor, clock: ManualClock) -> None:
    await ca.issue("auth", DAY)
    await monitor.look()
    clock.advance(3600)
    found = {
        str(each.attributes["interlock.identity"]): each.value
        for each in monitor._observe(CallbackOptions())  # pyright: ignore[reportPrivateUsage] - what the exporter calls
        if each.attributes is not None
    }
    assert found["auth"] == pytest.approx(23 * 3600)
    assert found["ca-1-root"] == pytest.approx(3650 * _DAY - 3600, rel=0.001)
