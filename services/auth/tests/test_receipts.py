import asyncio

import pytest

from interlock_auth.receipts import Receipts
from interlock_common.messages.revocation import Confirmation, Receipt
from interlock_common.testing.clock import ManualClock


@pytest.fixture
def receipts(clock: ManualClock) -> Receipts:
    return Receipts(clock, wait=0.05, settling=0)


def confirm(receipts: Receipts, edge: str, sequence: int, *, leaving: bool = False) -> None:
    receipts.heard(Confirmation(edge, sequence, 5.0, leaving))


async def test_a_receipt_waits_for_every_edge_that_is_there(receipts: Receipts, clock: ManualClock) -> None:
    confirm(receipts, "gateway-a", 6)
    confirm(receipts, "gateway-b", 7)
    asking = asyncio.create_task(receipts.of(Receipt("t", 7), clock.monotonic()))
    await asyncio.sleep(0)
    assert not asking.done()
    clock.advance(0.012)
    confirm(receipts, "gateway-a", 8)
    assert await asking == Receipt("t", 7, 2, 2, 12.0)


async def test_an_edge_that_does_not_confirm_is_named(receipts: Receipts, clock: ManualClock) -> None:
    confirm(receipts, "gateway-a", 7)
    confirm(receipts, "gateway-b", 6)
    receipt = await receipts.of(Receipt("t", 7), clock.monotonic())
    assert (receipt.applied, receipt.of, receipt.late) == (1, 2, ("gateway-b",))


async def test_nobody_waits_for_an_edge_whose_lease_has_run_out(clock: ManualClock) -> None:
    receipts = Receipts(clock, wait=3600, settling=0)
    confirm(receipts, "gateway-a", 1)
    clock.advance(8)
    receipt = await asyncio.wait_for(receipts.of(Receipt("t", 7), clock.monotonic()), 5)
    assert (receipt.applied, receipt.of, receipt.late) == (0, 1, ("gateway-a",))
    clock.advance(60)
    assert (await receipts.of(Receipt("t", 7), clock.monotonic())).of == 0


async def test_an_edge_that_leaves_is_not_waited_for(clock: ManualClock) -> None:
    receipts = Receipts(clock, wait=3600, settling=0)
    confirm(receipts, "gateway-a", 1)
    asking = asyncio.create_task(receipts.of(Receipt("t", 7), clock.monotonic()))
    await asyncio.sleep(0)
    confirm(receipts, "gateway-a", 1, leaving=True)
    receipt = await asyncio.wait_for(asking, 5)
    assert receipt.late == ()


async def test_auth_that_has_just_started_first_hears_who_is_there(clock: ManualClock) -> None:
    receipts = Receipts(clock, wait=0.05)
    receipts.listening()
    asking = asyncio.create_task(receipts.of(Receipt("t", 7), clock.monotonic()))
    await clock.until_asleep()
    confirm(receipts, "gateway-a", 7)
    clock.advance(2)
    assert (await asking).of == 1


async def test_a_new_edge_is_told_at_once(receipts: Receipts) -> None:
    met: list[None] = []
    receipts.met = lambda: met.append(None)
    for _ in range(3):
        confirm(receipts, "gateway-a", 7)
    assert len(met) == 1
