import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy.ext.asyncio import AsyncEngine

from interlock_certs.errors import StepRefused
from interlock_certs.testing import ADMIN, DAY, NOBODY, CaWorld
from interlock_common.errors import PermissionDenied, Unavailable
from interlock_common.messages.certs import AuthorityStatus, ConfirmTrust, RotateAuthority, Step
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.waiting import until


@pytest.fixture
async def ca(tmp_path: Path, engine: AsyncEngine, clock: ManualClock) -> CaWorld:
    world = CaWorld(tmp_path, engine, clock)
    await world.generations.load()
    return world


async def take(ca: CaWorld, *steps: Step) -> AuthorityStatus:
    for step in steps[:-1]:
        await ca.rotation.take(RotateAuthority(ADMIN, step))
    return await ca.rotation.take(RotateAuthority(ADMIN, steps[-1]))


async def confirmed(ca: CaWorld, identity: str, instance: str) -> None:
    await ca.peers.confirm(identity, ConfirmTrust(ca.generations.bundle, instance))


def states(ca: CaWorld) -> dict[int, str]:
    return {one.number: one.state for one in ca.generations.counting}


async def test_four_steps_lead_from_one_ca_to_the_next(ca: CaWorld) -> None:
    old = await ca.issue("auth")
    await take(ca, "prepare")
    assert states(ca) == {1: "active", 2: "prepared"}
    assert len(x509.load_pem_x509_certificates(ca.generations.bundle_pem)) == 2
    assert (await ca.issue("auth")).issuer == old.issuer
    await take(ca, "activate")
    assert states(ca) == {1: "retiring", 2: "active"}
    new = await ca.issue("auth")
    assert new.issuer != old.issuer
    await take(ca, "taint")
    assert [ca.generations.counting[0].root_key_id] == list(ca.generations.tainted)
    status = await take(ca, "revoke")
    assert states(ca) == {2: "active"}
    assert ca.generations.bundle_pem == ca.generations.active.bundle_pem
    assert (status.next_step, status.bundle, ca.applied) == ("prepare", 4, 4)
    assert [told for told, _ in ca.announcer.told] == ["prepare", "activate", "taint", "revoke"]


async def test_a_third_generation_follows_the_second(ca: CaWorld) -> None:
    await take(ca, "prepare", "activate", "taint", "revoke", "prepare", "activate")
    assert states(ca) == {2: "retiring", 3: "active"}


async def test_what_step_was_taken_outlives_a_restart(
    ca: CaWorld, tmp_path: Path, engine: AsyncEngine, clock: ManualClock
) -> None:
    await take(ca, "prepare", "activate", "taint")
    again = CaWorld(tmp_path, engine, clock)
    await again.generations.load()
    assert states(again) == {1: "tainted", 2: "active"}
    assert again.generations.bundle_pem == ca.generations.bundle_pem
    assert again.generations.bundle == ca.generations.bundle
    assert again.generations.tainted == ca.generations.tainted


@pytest.mark.parametrize("step", ["activate", "taint", "revoke"])
async def test_a_step_out_of_turn_is_refused(ca: CaWorld, step: Step) -> None:
    with pytest.raises(StepRefused, match=f"{step} is not the next step of a rotation, prepare is"):
        await take(ca, step)
    assert states(ca) == {1: "active"}


async def test_activating_is_refused_with_the_names_of_who_has_not_confirmed(ca: CaWorld) -> None:
    leaf = await ca.issue("auth")
    ca.bus.connect("auth", "a1", leaf)
    ca.bus.connect("gateway", "g1", await ca.issue("gateway"))
    await confirmed(ca, "auth", "a1")
    await confirmed(ca, "gateway", "g1")
    await take(ca, "prepare")
    await confirmed(ca, "auth", "a1")
    with pytest.raises(StepRefused, match="activate is not safe yet: gateway g1 have not confirmed the trust bundle"):
        await take(ca, "activate")
    assert ca.announcer.told[-1][0] == "activate refused"
    assert (await ca.rotation.status()).waiting_for == ("gateway g1",)
    await confirmed(ca, "gateway", "g1")
    await take(ca, "activate")


async def test_who_went_away_is_not_waited_for(ca: CaWorld) -> None:
    ca.bus.connect("auth", "a1", await ca.issue("auth"))
    with pytest.raises(StepRefused, match="auth a1"):
        await take(ca, "prepare")
    ca.bus.shown.clear()
    await take(ca, "prepare")


async def test_operators_and_workers_confirm_nothing_and_are_not_waited_for(ca: CaWorld) -> None:
    ca.bus.connect("operator", "", await ca.issue("operator"))
    ca.bus.connect("worker", "", await ca.issue("worker"))
    await take(ca, "prepare", "activate", "taint")
    with pytest.raises(StepRefused, match="revoke is not safe yet: operator, worker still show a leaf of the old CA"):
        await take(ca, "revoke")


async def test_revoking_is_refused_while_anybody_shows_an_old_leaf(ca: CaWorld) -> None:
    old = await ca.issue("auth")
    ca.bus.connect("auth", "a1", old)
    await confirmed(ca, "auth", "a1")
    await take(ca, "prepare")
    await confirmed(ca, "auth", "a1")
    await take(ca, "activate", "taint")
    await confirmed(ca, "auth", "a1")
    with pytest.raises(StepRefused, match="revoke is not safe yet: auth a1 still show a leaf of the old CA"):
        await take(ca, "revoke")
    ca.bus.connect("auth", "a1", await ca.issue("auth"))  # the second link; the first is still being drained
    with pytest.raises(StepRefused, match="auth a1"):
        await take(ca, "revoke")
    del ca.bus.shown[0]
    await take(ca, "revoke")


async def test_a_leaf_that_certs_does_not_know_keeps_the_old_root(ca: CaWorld) -> None:
    await take(ca, "prepare", "activate", "taint")
    stranger = ca.generations.counting[0].authority
    ca.bus.connect("operator", "", await ca.issue("operator"))
    ca.bus.shown[0] = ca.bus.shown[0].__class__("one", 1, ca.bus.shown[0].user, "operator", "sha256:00")
    with pytest.raises(StepRefused, match="operator"):
        await take(ca, "revoke")
    assert ca.generations.counting[0].authority is stranger


async def test_a_step_that_the_bus_did_not_follow_holds_up_the_next_one(ca: CaWorld, clock: ManualClock) -> None:
    async def follow() -> None:
        raise Unavailable("the bus is away")

    ca.rotation = ca.rotation.__class__(ca.generations, ca.peers, follow, ca.announcer, clock)
    with pytest.raises(Unavailable):
        await take(ca, "prepare")
    assert states(ca) == {1: "active", 2: "prepared"}
    with pytest.raises(StepRefused, match="the step before this one is not applied everywhere yet"):
        await take(ca, "activate")


async def test_what_was_not_applied_is_tried_until_it_is(ca: CaWorld) -> None:
    keeping = asyncio.create_task(ca.rotation.keep_applied())
    try:
        ca.bus.away = False
        await take(ca, "prepare")
        ca.bus.away = True
        with pytest.raises(Unavailable):
            await take(ca, "activate")
        ca.bus.away = False
        await take(ca, "activate")
        await until(lambda: ca.applied >= 2)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_only_who_may_configure_the_system_rotates_the_ca(ca: CaWorld) -> None:
    with pytest.raises(PermissionDenied, match=r"admin\.system_config"):
        await ca.rotation.take(RotateAuthority(NOBODY, "prepare"))
    with pytest.raises(PermissionDenied, match=r"admin\.security_audit"):
        await ca.rotation.asked(NOBODY)
    assert (await ca.rotation.asked(ADMIN)).next_step == "prepare"


async def test_a_root_that_is_due_rotates_by_itself(ca: CaWorld, clock: ManualClock) -> None:
    keeping = asyncio.create_task(ca.rotation.keep_rotating())
    try:
        await clock.until_asleep()
        assert states(ca) == {1: "active"}
        clock.advance((3650 * DAY).total_seconds() * 0.7)
        for expected in ({1: "active", 2: "prepared"}, {1: "retiring", 2: "active"}, {1: "tainted", 2: "active"},
                         {2: "active"}):  # fmt: skip
            await until(lambda expected=expected: states(ca) == expected)
            await clock.until_asleep()
            clock.advance(60)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert states(ca) == {2: "active"}
