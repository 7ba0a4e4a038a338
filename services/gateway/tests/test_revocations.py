"""What an edge makes of revocations: who is refused, and what of theirs ends."""

import asyncio
from typing import Any

import pytest

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import Unauthenticated
from interlock_common.messages.auth import principal_key, revocation_key
from interlock_common.messages.revocation import FOR_EVER, selector_key
from interlock_gateway.authentication import Authenticator
from interlock_gateway.caller import Caller
from interlock_gateway.errors import TokenRevoked
from interlock_gateway.lease import RevocationStale
from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.testing.callers import ADA, EVE
from interlock_gateway.testing.edge import EdgeWorld

ISSUED: dict[str, Any] = {"iat": 1_700_000_000, "exp": 4_000_000_000}


@pytest.fixture
def world() -> EdgeWorld:
    return EdgeWorld()


def caller(world: EdgeWorld, who: str = ADA, **claims: Any) -> Caller:
    said: dict[str, Any] = ISSUED | claims
    return world.authenticator.caller(b"Bearer " + world.signer.token(who, **said).encode())


SELECTORS: list[tuple[str, dict[str, Any]]] = [
    (selector_key("user", ADA), {}),
    (selector_key("team", "red"), {}),
    (selector_key("team", "blue"), {"teams": ["blue"]}),
    (selector_key("session", "s-1"), {"sid": "s-1"}),
    (selector_key("certificate", "thumb"), {"cnf": {"x5t#S256": "thumb"}}),
    ("all", {}),
]


@pytest.mark.parametrize(("key", "claims"), SELECTORS)
def test_a_selector_refuses_what_was_issued_before_its_moment(
    world: EdgeWorld, key: str, claims: dict[str, Any]
) -> None:
    caller(world, **claims)
    world.revocations.items[key] = ISSUED["iat"]
    caller(world, **claims)
    world.revocations.items[key] = ISSUED["iat"] + 1
    with pytest.raises(TokenRevoked):
        caller(world, **claims)
    caller(world, **claims | {"iat": ISSUED["iat"] + 1, "jti": "t-2"})


def test_a_selector_refuses_nobody_it_does_not_name(world: EdgeWorld) -> None:
    for key in (selector_key("user", EVE), selector_key("team", "ops"), selector_key("session", "s-2")):
        world.revocations.items[key] = FOR_EVER
    assert caller(world, sid="s-1").principal == ADA


@pytest.mark.parametrize("parent", ["p-1", ["p-0", "p-1"]])
def test_a_token_is_revoked_with_those_it_was_exchanged_from(world: EdgeWorld, parent: object) -> None:
    assert caller(world, parent=parent).token_id == "t-1"
    world.revocations.items[revocation_key("p-1")] = FOR_EVER
    with pytest.raises(TokenRevoked):
        caller(world, parent=parent)


async def ended(live: LiveWork, who: Caller) -> asyncio.Task[None]:
    started = asyncio.Event()

    async def work() -> None:
        with live.on_behalf_of(who):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    return task


async def test_work_ends_with_its_parent_its_user_its_principal_and_its_key(world: EdgeWorld) -> None:
    live = LiveWork(world.authenticator.counts)
    of_parent = await ended(live, caller(world, parent="p-1"))
    assert live.end("p-1") == 1
    with pytest.raises(Ended):
        await of_parent

    of_user, of_eve = await ended(live, caller(world)), await ended(live, caller(world, EVE, jti="t-9"))
    assert live.end_revoked() == 0
    world.revocations.items[selector_key("user", ADA)] = FOR_EVER
    assert live.end_revoked() == 1
    with pytest.raises(Ended):
        await of_user

    inactive = world.principals.items.pop(principal_key(EVE))
    assert live.end_revoked() == 1
    with pytest.raises(Ended):
        await of_eve
    world.principals.items[principal_key(EVE)] = inactive
    of_key = await ended(live, caller(world, EVE, jti="t-9"))
    del world.keys.items[world.signer.kid]
    assert live.end_revoked() == 1
    with pytest.raises(Ended):
        await of_key


def test_while_it_is_not_known_who_is_revoked_nobody_is_let_in(world: EdgeWorld) -> None:
    def stale() -> None:
        raise RevocationStale("stale")

    authenticator = Authenticator(
        world.keys, world.principals, world.revocations, rules=world.rules, clock=SYSTEM_CLOCK, require_fresh=stale
    )
    with pytest.raises(RevocationStale):
        authenticator.caller(b"Bearer " + world.signer.token().encode())
    with pytest.raises(Unauthenticated):
        authenticator.caller(b"Bearer nonsense")
