"""What an edge makes of revocations: who is refused, and what of theirs ends."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock_common.clock import SYSTEM_CLOCK
from interlock_common.errors import Unauthenticated
from interlock_common.messages.auth import principal_key, revocation_key
from interlock_common.messages.revocation import FOR_EVER, selector_key
from interlock_common.revocation_set import RevocationSet
from interlock_gateway.authentication import Authenticator
from interlock_gateway.caller import Caller
from interlock_gateway.certificates.errors import TokenBound
from interlock_gateway.errors import TokenRevoked
from interlock_gateway.lease import RevocationStale
from interlock_gateway.live import Ended, LiveWork
from interlock_gateway.revocations import Revocations, Traces, traces_of
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
    assert counts(world, **claims)
    world.revocations.items[key] = ISSUED["iat"]
    assert counts(world, **claims)
    world.revocations.items[key] = ISSUED["iat"] + 1
    assert not counts(world, **claims)
    assert counts(world, **claims | {"iat": ISSUED["iat"] + 1, "jti": "t-2"})


def counts(world: EdgeWorld, **claims: Any) -> bool:
    """Whether a token is not revoked; one that is bound to a certificate then misses that."""
    try:
        caller(world, **claims)
    except TokenRevoked:
        return False
    except TokenBound:
        return True
    return True


def test_a_selector_refuses_nobody_it_does_not_name(world: EdgeWorld) -> None:
    for key in (selector_key("user", EVE), selector_key("team", "ops"), selector_key("session", "s-2")):
        world.revocations.items[key] = FOR_EVER
    assert caller(world, sid="s-1").principal == ADA


_IDS = st.sampled_from(["t-1", "p-1", "p-2", "2b0c9f0e-5d0f-4b8a-8f5e-0c8c6b1a7d11"])
_NAMED = st.sampled_from(["red", "blue", "s-1", "s-2", "thumb"])
_KEYS = st.one_of(
    st.just("all"),
    _IDS.map(revocation_key),
    st.sampled_from([ADA, EVE]).map(lambda name: selector_key("user", name)),
    _NAMED.map(lambda name: selector_key("team", name)),
    _NAMED.map(lambda name: selector_key("session", name)),
    _NAMED.map(lambda name: selector_key("certificate", name)),
)
_TRACES = st.builds(
    traces_of, _IDS, st.lists(_IDS, max_size=2).map(tuple), principal=st.just(ADA),
    teams=st.lists(_NAMED, max_size=2).map(tuple), session=st.none() | _NAMED, certificate=st.none() | _NAMED,
    issued_at=st.integers(0, 10), kid=st.just("k"),
)  # fmt: skip


@given(st.lists(st.tuples(_KEYS, st.integers(1, 12)), max_size=8), _TRACES, st.lists(_NAMED, max_size=2))
def test_the_most_restrictive_of_all_selectors_wins(
    revoked: list[tuple[str, int]], traces: Traces, teams: list[str]
) -> None:
    held, refused = RevocationSet(), False
    revocations = Revocations(lambda: held)
    concerned = {*traces.selectors, *(selector_key("team", team) for team in teams)}
    for key, before in revoked:
        moment = FOR_EVER if key.startswith("jti.") else max(before, held.before.get(key, 0))  # as auth publishes it
        held[key] = moment
        own = key in {revocation_key(each) for each in traces.ids}
        refused = refused or own or (key in concerned and traces.issued_at < moment)
        assert revocations.covers(traces, teams) == refused, "what is refused once stays refused"


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
