from dataclasses import dataclass, field

import pytest

from interlock_common.messages.revocation import Heartbeat
from interlock_common.testing.clock import ManualClock
from interlock_gateway.lease import Lease, RevocationStale


@dataclass
class World:
    """A lease of five seconds, and an auth whose clock began at another moment."""

    clock: ManualClock = field(default_factory=ManualClock)
    applied: int = 7
    digest: int = 3
    rereads: int = 0
    best_effort: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.clock.advance(100)
        self.lease = Lease(
            self.clock, 5.0, lambda: self.applied, lambda: self.digest, self.reread, self.best_effort
        )  # fmt: skip

    def reread(self) -> None:
        self.rereads += 1

    def beat(self, sequence: int = 7, digest: int = 3, *, underway: float = 0.0, instance: str = "a") -> None:
        """A heartbeat arrives that was sent ``underway`` seconds ago."""
        sent = self.clock.monotonic() + 5000 - underway
        self.lease.heard(Heartbeat(instance, sequence, f"{digest:032x}", sent))


def test_an_edge_that_never_heard_of_auth_is_stale() -> None:
    world = World()
    assert world.lease.stale
    with pytest.raises(RevocationStale):
        world.lease.require("tools/call")


def test_a_heartbeat_counts_for_the_lease() -> None:
    world = World()
    world.beat()
    world.clock.advance(5)
    world.lease.require("tools/call")
    assert world.lease.problem() is None
    world.clock.advance(0.1)
    assert world.lease.problem() is not None
    with pytest.raises(RevocationStale) as refused:
        world.lease.require("tools/call")
    assert (refused.value.status, refused.value.code) == (503, "revocation_stale")


def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    world = World()
    world.beat()
    world.clock.advance(20)
    world.beat(underway=15)  # it waited in a buffer while this edge was stopped
    assert world.lease.stale
    world.beat()
    assert not world.lease.stale


def test_clocks_that_drift_apart_make_no_edge_stale() -> None:
    world = World()
    for beat in range(3600):
        world.beat(underway=beat * 0.0005)
        world.clock.advance(1)
    assert not world.lease.stale


def test_an_announced_revocation_must_have_arrived() -> None:
    world = World()
    world.beat(8)
    assert world.lease.stale
    world.applied = 8
    world.lease.reached()
    assert not world.lease.stale


def test_what_is_announced_and_never_arrives_is_read_anew() -> None:
    world = World()
    for _ in range(8):
        world.beat(8)
        world.clock.advance(1)
    assert world.lease.stale
    assert world.rereads == 1


def test_another_set_of_the_same_length_is_read_anew() -> None:
    world = World()
    world.beat(digest=4)
    assert (world.rereads, world.lease.stale) == (0, True)
    world.beat(digest=4)
    assert (world.rereads, world.lease.stale) == (1, True)
    world.digest = 4
    world.beat(digest=4)
    assert not world.lease.stale


def test_a_bucket_that_begins_anew_is_read_anew() -> None:
    world = World()
    for _ in range(3):
        world.beat(2)
    assert world.rereads == 1


def test_methods_may_be_named_that_go_on() -> None:
    world = World(best_effort=("tools/list",))
    world.lease.require("tools/list")
    world.lease.require_unless_sorted_later()
    with pytest.raises(RevocationStale):
        world.lease.require("tools/call")
    with pytest.raises(RevocationStale):
        World().lease.require_unless_sorted_later()
