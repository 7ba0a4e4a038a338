import asyncio
import ssl
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from interlock_common import tls
from interlock_common.enrolment import Renewer, is_left_behind, renewal_moment
from interlock_common.errors import InterlockError, Unavailable
from interlock_common.identity import Identity
from interlock_common.testing.clock import ManualClock
from interlock_common.testing.pki import ScratchAuthority
from interlock_common.tls import UnusableIdentity

HOUR = timedelta(hours=1)


class World:
    """A renewer whose bus and authority are fakes, on a clock that tests move."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.authority = ScratchAuthority(clock=self.clock)
        self.identity = Identity("auth", "interlock.test", directory, self.clock)
        self.obtained = self.rejoined = 0
        self.shown: list[ssl.SSLContext] = []
        self.refuses: InterlockError | None = None
        self.bus_away = False
        self.issue()
        self.renewer = Renewer(self.identity, self, self.clock, obtain=self.obtain, rejoin=self.rejoin)

    def issue(self) -> None:
        key, chain = self.authority.issue(spiffe=self.identity.spiffe_id, lifetime=HOUR, not_before=self.clock.now())
        self.identity.install(key, chain, self.authority.bundle_pem)

    async def obtain(self) -> None:
        self.obtained += 1
        if self.refuses is not None:
            raise self.refuses
        self.issue()

    async def rejoin(self) -> None:
        self.rejoined += 1
        self.issue()

    async def rotate(self, context: ssl.SSLContext) -> None:
        if self.bus_away:
            raise Unavailable("the bus is away")
        self.shown.append(context)

    async def request[T](self, subject: str, message: msgspec.Struct, reply: type[T], *, timeout: float = 5.0) -> T:
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in steps, so that whoever naps wakes on the way."""
        for _ in range(int(seconds / 10)):
            self.clock.advance(10)
            await asyncio.sleep(0)
            await self.clock.until_asleep()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[Any]:
    world = World(tmp_path / "identity")
    running = asyncio.create_task(world.renewer.run())
    await world.clock.until_asleep()
    yield world
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_renewal_is_due_at_two_thirds_give_or_take_a_twentieth() -> None:
    begin = ManualClock().now()
    moments = [renewal_moment(begin, begin + timedelta(seconds=6000), jitter) for jitter in (-1, 0, 1)]
    assert [(moment - begin).total_seconds() for moment in moments] == pytest.approx([3700, 4000, 4300])


async def test_a_leaf_is_renewed_in_time_and_shown_to_the_bus(world: Any) -> None:
    first = world.identity.leaf
    await world.pass_time(3600 * (2 / 3 - 0.05) - 20)
    assert world.obtained == 0
    await world.pass_time(3600 * 0.1 + 40)
    assert (world.obtained, len(world.shown)) == (1, 1)
    assert world.identity.leaf != first


async def test_a_refusal_is_tried_again_while_the_old_leaf_lives(world: Any) -> None:
    world.refuses = Unavailable("certs is away")
    await world.pass_time(3400)
    assert world.obtained > 3
    assert world.rejoined == 0
    assert world.identity.is_usable()
    world.refuses = None
    await world.pass_time(150)
    assert (len(world.shown), world.rejoined) == (1, 0)


async def test_an_expired_identity_joins_again(world: Any) -> None:
    world.refuses = Unavailable("the bus refuses an expired certificate")
    await world.pass_time(3600 + 300)
    assert world.rejoined == 1
    assert world.identity.is_usable()
    assert len(world.shown) == 1


async def test_a_leaf_the_bus_has_not_seen_is_shown_later_and_not_issued_anew(world: Any) -> None:
    world.bus_away = True
    await world.pass_time(3000)
    assert (world.obtained, world.shown) == (1, [])
    world.bus_away = False
    await world.pass_time(300)
    assert (world.obtained, len(world.shown)) == (1, 1)


async def test_another_bundle_is_put_in_place_and_shown_once(world: Any) -> None:
    both = world.authority.bundle_pem + ScratchAuthority("next", world.clock).bundle_pem
    await world.renewer.trust(both, ())
    await world.renewer.trust(both, ())
    assert world.identity.bundle_path.read_bytes() == both
    assert (len(world.shown), world.obtained) == (1, 0)


async def test_a_leaf_below_a_tainted_root_is_replaced_at_once(world: Any) -> None:
    before = world.identity.leaf
    (root,) = tls.authority_key_ids([before])
    await world.renewer.trust(world.authority.bundle_pem, ("00", root))
    assert (world.obtained, len(world.shown)) == (1, 1)
    assert world.identity.leaf != before
    await world.renewer.trust(world.authority.bundle_pem, ("00",))
    assert world.obtained == 1


async def test_a_leaf_that_the_new_bundle_does_not_verify_is_replaced_first(world: Any) -> None:
    world.authority = ScratchAuthority("next", world.clock)
    await world.renewer.trust(world.authority.bundle_pem, ())
    assert world.obtained == 1
    assert world.identity.is_verified_by(world.authority.bundle_pem)


async def test_a_bundle_that_verifies_nothing_of_ours_changes_nothing(world: Any) -> None:
    before = world.identity.bundle_path.read_bytes()
    with pytest.raises(UnusableIdentity, match="is not verified by"):
        await world.renewer.trust(ScratchAuthority("stranger", world.clock).bundle_pem, ())
    assert world.identity.bundle_path.read_bytes() == before


async def test_a_service_that_a_rotation_left_behind_joins_again(world: Any, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    assert not is_left_behind(world.identity, drop)
    (drop / "bundle.pem").write_bytes(world.authority.bundle_pem)
    assert not is_left_behind(world.identity, drop)
    world.authority = ScratchAuthority("next", world.clock)
    (drop / "bundle.pem").write_bytes(world.authority.bundle_pem)
    assert is_left_behind(world.identity, drop)
    world.refuses = Unavailable("nobody answers")
    renewer = Renewer(
        world.identity, world, world.clock, obtain=world.obtain, rejoin=world.rejoin,
        left_behind=lambda: is_left_behind(world.identity, drop),
    )  # fmt: skip
    await renewer.renew_now()
    assert world.rejoined == 1
    assert not is_left_behind(world.identity, drop)
